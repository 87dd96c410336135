"""Takes its time to load."""

import time


class SlowStart:
    def initialize(self, context):
        time.sleep(3600)

    def handle(self, data, context):
        return ["unreachable"] * len(data)
