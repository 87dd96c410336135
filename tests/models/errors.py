"""Fails as the JSON body asks."""

from ts.utils.util import PredictionException


def handle(data, context):
    if data is None:
        return None
    wish = data[0]["body"]
    kind = wish["kind"]
    if kind == "prediction":
        raise PredictionException(wish["message"], *wish.get("code", []))
    if kind == "value":
        raise ValueError("no good")
    if kind == "key":
        return [data[0]["absent"]]
    if kind == "memory":
        raise MemoryError
    if kind == "cuda":
        raise RuntimeError("CUDA error: out of memory")
    if kind == "stop":
        raise StopIteration
    return ["fine"] * len(data)
