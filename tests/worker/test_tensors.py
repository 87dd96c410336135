"""Typed inputs by themselves: views of an arena, and results as outputs."""

from __future__ import annotations

import asyncio
import json
import os
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tserve_worker import _tensors
from tserve_worker.errors import InvalidHandlerError, InvalidReplyError


def unpack(packed: tuple[int, bytes]) -> dict[str, tuple[str, list[int], bytes]]:
    """Outputs by name: datatype, shape, bytes."""
    length, body = packed
    outputs, start = {}, length
    for entry in json.loads(body[:length])["outputs"]:
        size = entry["parameters"]["binary_data_size"]
        outputs[entry["name"]] = (entry["datatype"], entry["shape"], body[start : start + size])
        start += size
    assert start == len(body)
    return outputs


@pytest.fixture
def arena(tmp_path: Path) -> tuple[_tensors.Arena, bytes]:
    data = bytes(range(256)) * 16
    file = tmp_path / "arena"
    file.write_bytes(data)
    return _tensors.open_arena("numpy", os.open(file, os.O_RDONLY)), data


def test_tensors_are_views_where_they_can_be(arena: tuple[_tensors.Arena, bytes]) -> None:
    read, data = arena
    kind = f"{_tensors.TENSOR_TYPE};FP32;2,3"
    array = read(kind, 64, 24)
    assert (array.shape, array.dtype) == ((2, 3), np.dtype("<f4"))
    assert not array.flags.writeable
    assert array.tobytes() == data[64:88]
    unaligned = read(kind, 66, 24)
    assert unaligned.flags.aligned
    assert unaligned.tobytes() == data[66:90]
    empty = read(f"{_tensors.TENSOR_TYPE};INT8;0,4", 64, 0)
    assert (empty.shape, empty.dtype) == ((0, 4), np.int8)
    scalar = read(f"{_tensors.TENSOR_TYPE};UINT8;", 7, 1)
    assert (scalar.shape, scalar.item()) == ((), 7)


def test_bf16_becomes_float32() -> None:
    bits = np.array([0x3F80, 0xC000, 0x7FC0], np.uint16)
    assert [str(it) for it in _tensors.widen(bits)] == ["1.0", "-2.0", "nan"]


@pytest.mark.parametrize(
    ("value", "datatype", "shape", "data"),
    [
        (np.array([1, 2], ">i2"), "INT16", [2], b"\x01\x00\x02\x00"),
        (np.ones((2, 2), np.float16)[:, ::2], "FP16", [2, 1], b"\x00\x3c\x00\x3c"),
        (True, "BOOL", [], b"\x01"),
        ([1.5], "FP64", [1], struct.pack("<d", 1.5)),
        (np.zeros((3, 0)), "FP64", [3, 0], b""),
        (np.float32(2), "FP32", [], struct.pack("<f", 2)),
        ("é", "BYTES", [], b"\x02\x00\x00\x00\xc3\xa9"),
        (b"\xff\x00", "BYTES", [], b"\x02\x00\x00\x00\xff\x00"),
        (["a", "b"], "BYTES", [2], b"\x01\x00\x00\x00a\x01\x00\x00\x00b"),
    ],
)
def test_every_value_has_its_datatype(
    value: Any, datatype: str, shape: list[int], data: bytes
) -> None:
    assert unpack(_tensors.pack({"y": value}, [])) == {"y": (datatype, shape, data)}


@pytest.mark.parametrize(
    "value", [{"a": 1}, [[1], [1, 2]], np.zeros(1, complex), None, [None], object()]
)
def test_other_values_are_refused(value: Any) -> None:
    if isinstance(value, object) and type(value) is object:
        value = [value, {}]
    with pytest.raises(InvalidReplyError, match="'y'"):
        _tensors.pack({"y": value}, [])


def test_outputs_have_names() -> None:
    one, two = np.zeros(1), np.ones(1)
    names = lambda result, wanted: list(unpack(_tensors.pack(result, wanted)))  # noqa: E731
    assert names({"a": one, "b": two}, []) == ["a", "b"]
    assert names({"a": one, "b": two}, ["b"]) == ["b"]
    # What is missing is said where the client is answered.
    assert names({"a": one}, ["c"]) == ["a"]
    assert names([one, two], []) == ["output_0", "output_1"]
    assert names((one, 2), ["x", "y"]) == ["x", "y"]
    assert names([1, 2], ["x"]) == ["x"]


def test_handlers_ask_in_three_ways() -> None:
    def plain() -> None: ...

    def marked() -> None: ...

    marked.typed_inputs = "torch"  # type: ignore[attr-defined]

    class Handler:
        typed_inputs = "numpy"

        def handle(self) -> None: ...

    of_module: dict[str, Any] = {"typed_inputs": "numpy"}
    exec("def handle(data, context): ...", of_module)
    assert _tensors.typed_inputs_of(plain) is None
    assert _tensors.typed_inputs_of(marked) == "torch"
    assert _tensors.typed_inputs_of(Handler().handle) == "numpy"
    assert _tensors.typed_inputs_of(of_module["handle"]) == "numpy"
    Handler.typed_inputs = "pandas"
    with pytest.raises(InvalidHandlerError, match="numpy or torch"):
        _tensors.typed_inputs_of(Handler().handle)


def test_requests_of_other_protocols_pass() -> None:
    context: Any = SimpleNamespace(
        request_processor=[SimpleNamespace(get_request_property=lambda _: None)]
    )
    entry = _tensors.TypedEntryPoint(lambda data, _: data, "numpy")
    assert entry([{"body": b"x"}], context) == [{"body": b"x"}]


@pytest.mark.parametrize("is_asynchronous", [False, True])
def test_results_become_outputs(is_asynchronous: bool) -> None:
    headers: dict[str, str] = {}
    wish = json.dumps({"outputs": ["y"], "parameters": {}})
    context: Any = SimpleNamespace(
        request_processor=[SimpleNamespace(get_request_property=lambda _: wish)],
        get_response_status=lambda _: (200, None),
        set_response_header=lambda _, name, value: headers.update({name: value}),
    )

    def handle(data: Any, context: Any) -> Any:
        return [row["x"] + 1 for row in data]

    async def handle_later(data: Any, context: Any) -> Any:
        return handle(data, context)

    entry = _tensors.TypedEntryPoint(handle_later if is_asynchronous else handle, "numpy")
    # As it comes before the server knows of the handler.
    x = {"name": "x", "datatype": "INT8", "shape": [2], "data": [1, 2]}
    results = entry([{"body": {"inputs": [x]}}], context)
    (body,) = asyncio.run(results) if is_asynchronous else results
    length = int(headers[_tensors.LENGTH_HEADER])
    assert unpack((length, body)) == {"y": ("INT8", [2], b"\x02\x03")}
