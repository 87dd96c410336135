"""Takes plain bodies as numpy arrays, and does with them what the header `x-do` says."""

import hashlib


class TypedBodies:
    typed_inputs = "numpy"

    def initialize(self, context):
        self.kept = []

    def handle(self, data, context):
        return [self.answer(row["body"], context, index) for index, row in enumerate(data)]

    def answer(self, body, context, index):
        do = context.get_request_header(index, "x-do")
        if do == "keep":
            self.kept.append(body[1:])
        if do == "recall":
            return [digest(array) for array in self.kept]
        if do == "fail":
            self.kept.append(body[1:])
            raise ValueError("it keeps what it fails with")
        if do == "echo":
            return bytes(body)
        if not hasattr(body, "dtype"):
            return [type(body).__name__, str(body)]
        flags = body.flags
        start = body.ravel(order="K")[:4].tolist()
        order = "F" if flags.f_contiguous and not flags.c_contiguous else "C"
        return [str(body.dtype), list(body.shape), order, flags.writeable, start]


def digest(array):
    return hashlib.sha256(array.tobytes()).hexdigest()
