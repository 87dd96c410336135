"""Takes typed inputs: answers them as they came, or what the parameter `do` says."""

import json

import numpy


class Tensors:
    typed_inputs = "numpy"

    def initialize(self, context):
        self.kept = []

    def handle(self, data, context):
        return [self.answer(row, context, index) for index, row in enumerate(data)]

    def answer(self, row, context, index):
        asked = context.get_request_header(index, "open-inference-request")
        if asked is None:
            return {name: type(value).__name__ for name, value in row.items()}
        do = json.loads(asked)["parameters"].get("do", "echo")
        if do == "describe":
            return {
                f"{name}.{what}": str(value)
                for name, array in row.items()
                for what, value in [
                    ("type", type(array).__name__),
                    ("dtype", array.dtype),
                    ("writeable", array.flags.writeable),
                    ("owns", array.flags.owndata),
                    ("aligned", array.ctypes.data % 64 == 0),
                ]
            }
        if do == "one":
            return next(iter(row.values()))
        if do == "several":
            return list(row.values())
        if do == "scalars":
            return {"number": 1.5, "text": "é", "list": [1, 2], "bytes": b"\xff", "flag": True}
        if do == "trace":
            trace = context.get_trace(index)
            return {"trace": trace.trace_id, "span": trace.span_id}
        if do == "refuse":
            context.set_response_status(418, "teapot", index)
            return "short and stout"
        if do == "complex":
            return numpy.zeros(2, dtype=numpy.complex64)
        if do == "raise":
            raise ValueError("no good")
        if do == "write":
            row["x"] += 1
        return row
