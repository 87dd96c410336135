"""512 row means of a 512x512 float32 tensor, for the Open Inference Protocol.

With `V2_TYPED` in the environment it takes typed inputs; else it is behind TorchServe's envelope.
"""

import os

import numpy as np


class RowMeans:
    typed_inputs = "numpy" if os.environ.get("V2_TYPED") else None

    def initialize(self, context):
        self.initialized = True

    def handle(self, data, context):
        if self.typed_inputs:
            return [{"x": row["x"].mean(axis=1)} for row in data]
        tensor = np.asarray(data[0]["data"], dtype=np.float32)
        return [tensor.mean(axis=1)]
