"""A handler class that is no BaseHandler."""


class Greeter:
    def __init__(self):
        self.calls = 0

    def initialize(self, context):
        self.name = context.manifest["model"]["modelName"]

    def handle(self, data, context):
        self.calls += 1
        return [f"{self.name}, call {self.calls}"] * len(data)
