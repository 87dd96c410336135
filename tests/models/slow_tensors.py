"""Takes typed inputs once it has loaded, which takes a while."""

import time


class SlowTensors:
    typed_inputs = "numpy"

    def initialize(self, context):
        time.sleep(2)

    def handle(self, data, context):
        return data
