"""Everything that JSON can be made of."""

import collections
import enum
import math

import numpy as np


class Colour(str, enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


Point = collections.namedtuple("Point", "x y")

VALUES = {
    "none": None,
    "truth": [True, False],
    "numbers": [1, -1.5, 1e300, 10**30, 0.1, 1e-7, 1.0],
    "not numbers": [math.nan, math.inf, -math.inf],
    "text": 'é \u2028 \x00 " \\ / \U0001f600',
    "keys": {1: "a", False: "b", None: "c", 2.5: "d"},
    "ordered": collections.OrderedDict(b=1, a=2),
    "default": collections.defaultdict(list, a=[1]),
    "tuples": (1, (2, ())),
    "point": Point(1, 2),
    "enums": [Colour.RED, Level.LOW],
    "numpy": [np.float64(0.25), np.array([1.5]).tolist()],
    "empty": [[], {}, ""],
    "bytes": b"\x00\xff",
    "bytearray": bytearray(b"abc"),
    "float": 2.0,
    "int": 7,
    "bool": True,
    "float32": np.float32(0.5),
    "array": np.array([1]),
    "long": list(range(50)),
    "deep": [[[[[[[[1]]]]]]]],
}


def handle(data, context):
    return data and [VALUES[row["body"]] for row in data]
