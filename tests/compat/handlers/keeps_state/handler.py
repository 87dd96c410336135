"""Counts in the object, in the module, on the context and in a file beside itself."""

import pathlib

TOTAL = {"calls": 0}


class KeepsState:
    def initialize(self, context):
        self.calls = 0
        context.cache = {"calls": 0}
        self.file = pathlib.Path("calls.txt")
        self.file.write_text("0")
        self.first_context = context

    def handle(self, data, context):
        TOTAL["calls"] += 1
        self.calls += 1
        context.cache["calls"] += 1
        self.file.write_text(str(int(self.file.read_text()) + 1))
        counts = [TOTAL["calls"], self.calls, context.cache["calls"], self.file.read_text()]
        same = context is self.first_context
        data[0]["body"] = "changed"  # nobody else sees it
        return [{"counts": counts, "same context": same, "criteria": context.stopping_criteria}]
