"""Waits 5 ms per batch, as a handler does while an accelerator computes."""

import time


class DeviceHandler:
    def initialize(self, context):
        self.initialized = True

    def handle(self, data, context):
        time.sleep(0.005)
        return [b"ok"] * len(data)
