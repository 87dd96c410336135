"""Sleeps 20 ms per batch, as a handler does that waits for a database or another service."""

import time


class SleepingHandler:
    def initialize(self, context):
        self.initialized = True

    def handle(self, data, context):
        time.sleep(0.02)
        return [b"ok"] * len(data)
