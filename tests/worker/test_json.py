"""The worker's own JSON writer against Python's: the same text, or none."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tserve_worker._native import dumps


def expected(value: Any) -> bytes:
    return json.dumps(value, indent=2).encode()


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(VALUES)
def test_writes_what_python_writes(value: Any) -> None:
    assert dumps(value) == expected(value)


@given(st.floats())
def test_floats_are_written_as_repr(number: float) -> None:
    assert dumps(number) == expected(number)


@pytest.mark.parametrize(
    "number",
    [
        0.0,
        -0.0,
        1e16,
        9999999999999998.0,
        1e-4,
        9.999e-5,
        1e-5,
        5e-324,
        1.7976931348623157e308,
        1e22,
        123456789012345680.0,
        -1.5e-7,
        0.1,
        math.pi,
        2.0**53,
    ],
)
def test_floats_at_the_edges_of_the_formats(number: float) -> None:
    assert dumps(number) == expected(number)


def test_every_character_below_256_and_some_beyond() -> None:
    text = "".join(map(chr, range(256))) + "\u2028世\U0001f600\uffff"
    assert dumps({text: text}) == expected({text: text})


class Colour(IntEnum):
    RED = 1


class Text(str):
    pass


@pytest.mark.parametrize(
    "value",
    [
        2**63,
        -(2**63) - 1,
        {1: "key"},
        {None: "key"},
        Colour.RED,
        [Text("subclass")],
        OrderedDict(a=1),
        "\ud800",
        {"set": {1}},
        b"bytes",
        object(),
    ],
    ids=repr,
)
def test_the_rest_is_left_to_python(value: Any) -> None:
    assert dumps(value) is None


def test_depth_and_circles_are_left_to_python() -> None:
    nested: list[Any] = []
    for _ in range(63):
        nested = [nested]
    assert dumps(nested) == expected(nested)
    assert dumps([nested]) is None
    circle: dict[str, Any] = {}
    circle["self"] = [circle]
    assert dumps(circle) is None
