"""The oldest form of a handler: functions of a module, with modules and files beside it."""

import json
import os

import cleaning

with open("limits.json") as file:
    LIMITS = json.load(file)


class Counter:
    def __init__(self):
        self.context = None
        self.calls = 0

    def initialize(self, context):
        self.context = context


_service = Counter()


def handle(data, context):
    if _service.context is None:
        _service.initialize(context)
    if data is None:
        return None
    answers = []
    for row in data:
        words = cleaning.words(row.get("body"), LIMITS["words"])
        _service.calls += 1
        answers.append(
            {
                "words": words,
                "calls": _service.calls,
                "same folder": os.path.samefile(".", context.system_properties["model_dir"]),
                "name": __name__,
            }
        )
    return answers
