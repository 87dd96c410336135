"""Typed inputs by themselves: views of an arena, and results as outputs."""

from __future__ import annotations

import asyncio
import io
import json
import mmap
import os
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tserve_worker import _tensors, _views
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
def file(tmp_path: Path) -> Path:
    """Stands for the server's memory."""
    place = tmp_path / "arena"
    place.write_bytes(bytes(range(256)) * 1024)
    return place


def open_arena(file: Path, kind: _tensors.Kind = "numpy") -> _views.Arena:
    return _views.open_arena(kind, os.open(file, os.O_RDONLY))


def reuse(file: Path) -> None:
    """Does what the server does with the place of an answered request."""
    with file.open("r+b") as memory:
        memory.write(bytes(file.stat().st_size))


def test_tensors_have_type_shape_and_order(file: Path) -> None:
    read, data = open_arena(file), file.read_bytes()
    loans: _views.Loans = []
    kind = f"{_tensors.TENSOR_TYPE};FP32;2,3"
    for offset in (64, 66):
        array = read(kind, offset, 24, loans)
        assert (array.shape, array.dtype) == ((2, 3), np.dtype("<f4"))
        assert array.flags.aligned
        assert not array.flags.writeable
        assert array.tobytes() == data[offset : offset + 24]
    empty = read(f"{_tensors.TENSOR_TYPE};INT8;0,4", 64, 0, loans)
    assert (empty.shape, empty.dtype) == ((0, 4), np.int8)
    scalar = read(f"{_tensors.TENSOR_TYPE};UINT8;", 7, 1, loans)
    assert (scalar.shape, scalar.item()) == ((), 7)
    turned = read(f"{_tensors.TENSOR_TYPE};UINT8;2,3;F", 0, 6, loans)
    assert turned.tolist() == [[0, 2, 4], [1, 3, 5]]
    assert loans == []


LARGE = f"{_tensors.TENSOR_TYPE};INT16;2,40000"


def test_large_tensors_are_views_until_their_batch_is_answered(file: Path) -> None:
    read, data = open_arena(file), file.read_bytes()
    loans: _views.Loans = []
    kept = read(LARGE, 4160, 160_000, loans)
    left = read(LARGE, 64, 160_000, loans)
    odd = read(LARGE, 65, 160_000, loans)
    assert len(loans) == 2
    assert left.tobytes() == data[64:160_064]
    assert not left.flags.writeable
    part = kept[1, ::2]
    expect = part.copy()
    del left, kept
    read.settle(loans)
    unsettled = read(LARGE, 64, 160_000, loans)
    reuse(file)
    assert not unsettled.any(), "it was no view"
    assert (part == expect).all()
    assert odd.tobytes() == data[65:160_065]


def test_what_is_kept_survives_that_the_server_returns_the_pages() -> None:
    descriptor = os.memfd_create("arena")
    os.ftruncate(descriptor, 1 << 20)
    memory = mmap.mmap(descriptor, 1 << 20)
    memory[:] = bytes(range(256)) * 4096
    read = _views.open_arena("numpy", descriptor)
    loans: _views.Loans = []
    kept = read(LARGE, 4160, 160_000, loans)
    expect = kept.copy()
    read.settle(loans)
    memory.madvise(mmap.MADV_REMOVE)
    assert not any(memory[4160:8000])
    assert (kept == expect).all()


def test_tensors_of_torch_are_kept_and_written_in_private(file: Path) -> None:
    torch = pytest.importorskip("torch")
    read, data = open_arena(file, "torch"), file.read_bytes()
    loans: _views.Loans = []
    large = read(LARGE, 64, 160_000, loans)
    small = read(f"{_tensors.TENSOR_TYPE};UINT8;2,3;F", 0, 6, loans)
    assert (large.shape, large.dtype) == ((2, 40000), torch.int16)
    assert small.tolist() == [[0, 2, 4], [1, 3, 5]]
    written = read(LARGE, 64, 160_000, loans)
    written += 1
    assert file.read_bytes() == data
    expect = large.clone()
    read.settle(loans)
    reuse(file)
    assert torch.equal(large, expect)
    assert torch.equal(written, expect + 1)


def test_without_mappings_tensors_are_copied(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, data = open_arena(file), file.read_bytes()
    # A descriptor that nothing can be mapped from.
    descriptor = os.open(os.devnull, os.O_WRONLY)
    monkeypatch.setattr(read, "_descriptor", descriptor)
    loans: _views.Loans = []
    array = read(LARGE, 64, 160_000, loans)
    os.close(descriptor)
    reuse(file)
    assert (array.tobytes(), loans) == (data[64:160_064], [])


@pytest.mark.parametrize(
    ("body", "numbers", "dtype", "values"),
    [
        ([[1, 2], [3, 4]], "numpy", "int64", [[1, 2], [3, 4]]),
        ([1, 2.5], "numpy", "float64", [1, 2.5]),
        ([1, 2.5], "torch", "float32", [1, 2.5]),
        ([1, 2], "float32", "float32", [1, 2]),
        ([1, 2.0], "int64", "int64", [1, 2]),
        ([2**63], "numpy", "float64", [2.0**63]),
        (3, "torch", "int64", 3),
    ],
)
def test_plain_numbers_become_arrays(body: Any, numbers: str, dtype: str, values: Any) -> None:
    array = _tensors.plain_array(body, "application/json", numbers)
    assert array is not None
    assert (array.dtype, array.tolist()) == (np.dtype(dtype), values)


def test_other_plain_bodies_become_arrays_or_stay() -> None:
    raw = _tensors.plain_array(bytearray(b"ab"), "application/octet-stream", "numpy")
    assert raw is not None
    assert raw.tolist() == [97, 98]
    written = io.BytesIO()
    np.save(written, np.ones((2, 1)))
    file = _tensors.plain_array(bytearray(written.getvalue()), "application/x-npy", "numpy")
    assert file is not None
    assert file.shape == (2, 1)
    for value in ({"a": 1}, "text", None, True, bytearray(b"{")):
        assert _tensors.plain_array(value, "application/json", "numpy") is None
    for bad in ([[1], [1, 2]], ["a"], [None], [True], [{}]):
        with pytest.raises(ValueError, match=r"."):
            _tensors.plain_array(bad, "application/json", "numpy")
    with pytest.raises(ValueError, match="no int64"):
        _tensors.plain_array([1.5], "application/json", "int64")
    objects = io.BytesIO()
    np.save(objects, np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="Object arrays"):
        _tensors.plain_array(bytearray(objects.getvalue()), "application/x-npy", "numpy")


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
    assert _tensors.json_numbers_of(Handler().handle) == "numpy"
    assert _tensors.json_numbers_of(plain) is None
    Handler.typed_json = "float32"  # type: ignore[attr-defined]
    assert _tensors.json_numbers_of(Handler().handle) == "float32"
    Handler.typed_json = "complex"  # type: ignore[attr-defined]
    with pytest.raises(InvalidHandlerError, match="float32 or float64 or int64"):
        _tensors.json_numbers_of(Handler().handle)
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
