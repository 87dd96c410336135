"""Triton's own Python backend: this file is the model.py of the one model "bench"."""

import os

import numpy as np
import triton_python_backend_utils as pb
import work

WORKLOAD = os.environ["BENCH_WORKLOAD"]
OK = np.frombuffer(b"ok", dtype=np.uint8)


def _x(request):
    return pb.get_input_tensor_by_name(request, "x").as_numpy()


def _answer(y):
    return pb.InferenceResponse(output_tensors=[pb.Tensor("y", y)])


class TritonPythonModel:
    def initialize(self, args):
        self.run = work.make_mlp() if WORKLOAD == "mlp" else None

    def execute(self, requests):
        if WORKLOAD == "noop":
            return [_answer(OK) for _ in requests]
        if WORKLOAD == "noopb":
            return [_answer(OK.reshape(1, 2)) for _ in requests]
        if WORKLOAD == "tensor":
            return [_answer(_x(r).mean(axis=1)) for r in requests]
        rows = np.concatenate([_x(r) for r in requests])
        return [_answer(np.array([[i]], dtype=np.int64)) for i in self.run(rows)]
