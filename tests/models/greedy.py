"""Finds no memory for its model."""


class Greedy:
    def initialize(self, context):
        raise MemoryError("too large for this machine")

    def handle(self, data, context):
        return ["unreachable"] * len(data)
