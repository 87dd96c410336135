"""Fails while it initializes."""


class Refuses:
    def initialize(self, context):
        raise ValueError("cannot load on purpose")

    def handle(self, data, context):
        return ["unreachable"] * len(data)
