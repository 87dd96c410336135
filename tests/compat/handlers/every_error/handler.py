"""Fails in every way that a request can ask for."""

import torch
from ts.utils.util import PredictionException


class Custom(Exception):
    def __str__(self):
        return "a text of its own"


def handle(data, context):
    if data is None:
        return None
    kind = data[0].get("body")
    if kind in FAILURES:
        raise FAILURES[kind]()
    return RESULTS.get(kind, ["fine"])


FAILURES = {
    "value": lambda: ValueError("no"),
    "custom": Custom,
    "memory": lambda: MemoryError("none left"),
    "cuda": lambda: RuntimeError("CUDA error: device-side assert"),
    "assertion": AssertionError,
    "key": lambda: KeyError("k"),
    "torch": lambda: torch.cuda.OutOfMemoryError("CUDA out of memory."),
    "teapot": lambda: PredictionException("short and stout", 418),
    "default": lambda: PredictionException("no code"),
    "unavailable": lambda: PredictionException("later", 503),
    "missing": lambda: PredictionException("gone", 404),
    "success": lambda: PredictionException("well", 200),
    "group": lambda: OSError(28, "no space"),
    "stop": lambda: StopIteration("end"),
}

RESULTS = {
    "none": None,
    "tuple": ("a",),
    "dict": {"a": 1},
    "text": "a",
    "short": [],
    "long": ["a", "b"],
    "set": [{1, 2}],
    "object": [object()],
    "keys": [{(1, 2): 3}],
    "complex": [1j],
}
