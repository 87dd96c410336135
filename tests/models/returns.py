"""Returns what the body names."""

import torch


class Odd(list):
    pass


def circle():
    ring = []
    ring.append(ring)
    return ring


def value(kind):
    return {
        "text": "grüße",
        "empty": "",
        "bytes": b"\x00\xff",
        "dict": {"b": 1, "a": [1, 2.5, None, True], "u": "ü"},
        "list": [1, "two"],
        "number": 42,
        "float": 0.1,
        "nan": float("nan"),
        "none": None,
        "tuple": (1, 2),
        "keys": {1: "one", None: "none", 2.5: "half"},
        "set": {1},
        "tensor": torch.tensor([1.0, 2.0]),
        "nested": {"t": torch.tensor([1.0])},
        "circle": circle(),
        "huge": "x" * 7_000_000,
    }[kind]


def handle(data, context):
    if data is None:
        return None
    kind = bytes(data[0]["body"]).decode()
    whole = {
        "whole-dict": {"a": 1},
        "whole-text": "x",
        "whole-none": None,
        "whole-tuple": ("x",) * len(data),
        "too-many": ["x"] * (len(data) + 1),
        "too-few": [],
        "subclass": Odd(["x"] * len(data)),
    }
    if kind in whole:
        return whole[kind]
    return [value(kind)] * len(data)
