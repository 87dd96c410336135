"""Plain predictions of handlers with typed inputs: bodies as arrays over shared memory."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import ServerFactory
from harness.client import Answer, Connection, request
from harness.server import Server

np = pytest.importorskip("numpy")

BYTES, JSON, NPY = "application/octet-stream", "application/json", "application/x-npy"
PATH = "/predictions/typed_bodies"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a handler that takes arrays, and one that takes tensors."""
    factory = ServerFactory(tmp_path_factory.mktemp("typed-bodies"))
    yield factory("typed_bodies", "typed_torch_bodies")
    for started in factory.servers:
        started.stop()


def post(server: Server, body: bytes, kind: str, do: str = "", path: str = PATH) -> Answer:
    headers = {"Content-Type": kind} | ({"x-do": do} if do else {})
    return request(server.port, "POST", path, body, headers)


def seen(server: Server, body: bytes, kind: str, path: str = PATH) -> Any:
    answer = post(server, body, kind, path=path)
    assert answer.status == 200, answer
    return answer.json()


def refused(server: Server, body: bytes, kind: str) -> str:
    answer = post(server, body, kind)
    assert answer.status == 400, answer
    return answer.message()


def npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


@pytest.mark.parametrize("size", [0, 5, 100_000, 3 << 20])
def test_raw_bodies_are_arrays_of_bytes(server: Server, size: int) -> None:
    expect = ["uint8", [size], "C", False, [7] * min(size, 4)]
    assert seen(server, b"\x07" * size, BYTES) == expect
    with Connection(server.port) as connection:
        chunks = iter([b"\x07" * size]) if size else iter([])
        answer = connection.request("POST", PATH, chunks, {"Content-Type": BYTES})
    assert answer.json() == expect
    answer = post(server, b"\x07" * size, BYTES, "echo")
    assert answer.body == b"\x07" * size


@pytest.mark.parametrize("rows", [2, 40_000])
def test_files_of_numpy_are_arrays(server: Server, rows: int) -> None:
    array = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
    assert seen(server, npy(array), NPY) == ["float32", [rows, 3], "C", False, [0, 1, 2, 3]]
    turned = np.asfortranarray(array)
    columns = [0, 3, 1, 4] if rows == 2 else [0, 3, 6, 9]
    assert seen(server, npy(turned), NPY) == ["float32", [rows, 3], "F", False, columns]
    for kind in ("?", "i1", "u2", "<i4", "<u8", "<f2", "<f8"):
        assert seen(server, npy(array[:1].astype(kind)), NPY)[0] == np.dtype(kind).name
    assert seen(server, npy(np.float64(2)), NPY)[:2] == ["float64", []]


def test_numbers_in_json_are_arrays(server: Server) -> None:
    assert seen(server, b"[[1, 2], [3, 4]]", JSON) == ["int64", [2, 2], "C", False, [1, 2, 3, 4]]
    assert seen(server, b"[0.5, 2]", JSON) == ["float64", [2], "C", False, [0.5, 2]]
    assert seen(server, b"7", JSON) == ["int64", [], "C", False, [7]]
    large = str([0.25] * 50_000).encode()
    assert seen(server, large, JSON) == ["float64", [50_000], "C", False, [0.25] * 4]


def test_other_bodies_are_as_ever(server: Server) -> None:
    assert seen(server, b'{"a": [1]}', JSON) == ["dict", "{'a': [1]}"]
    assert seen(server, b'"a"', JSON) == ["str", "a"]
    assert seen(server, b"[1]", "text/plain") == ["str", "[1]"]
    assert seen(server, b"[1]", "")[0] == "bytearray"


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        (b"[[1, 2], [3]]", JSON, "lists of 2 and of 1 elements side by side"),
        (b'["a"]', JSON, "a number or a list"),
        (b"[1, 2", JSON, "EOF"),
        (npy(np.array([{}], dtype=object)), NPY, "are not served"),
        (npy(np.zeros(2, ">f4")), NPY, "little endian"),
        (npy(np.zeros(2))[:-1], NPY, "takes 16 bytes, not 15"),
        (b"PK\x03\x04", NPY, "no file of numpy.save"),
    ],
)
def test_bodies_that_lie_are_refused(server: Server, body: bytes, kind: str, reason: str) -> None:
    assert reason in refused(server, body, kind)


def test_tensors_of_torch_may_be_written(server: Server) -> None:
    pytest.importorskip("torch")
    path = "/predictions/typed_torch_bodies"
    assert seen(server, b"[[1, 2]]", JSON, path) == ["torch.float32", [1, 2], 5.0]
    for _ in range(3):
        body = npy(np.ones((512, 512), np.float32))
        assert seen(server, body, NPY, path) == ["torch.float32", [512, 512], 2.0 * 512 * 512]


def test_what_a_handler_keeps_stays_as_it_was(server: Server) -> None:
    generator = random.Random(3)
    expect = []
    for turn in range(12):
        body = generator.randbytes(200_000 if turn % 2 else 500)
        do = "fail" if turn % 3 == 2 else "keep"
        assert post(server, body, BYTES, do).status == (503 if do == "fail" else 200)
        expect.append(hashlib.sha256(body[1:]).hexdigest())
        # Others, that are written to the same places.
        assert post(server, generator.randbytes(len(body)), BYTES, "echo").status == 200
    assert post(server, b"", BYTES, "recall").json() == expect
