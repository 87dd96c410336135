"""Typed inputs: tensors of requests as numpy or torch views of shared memory, results as tensors.

A handler asks for them with ``typed_inputs = "numpy"`` (or ``"torch"``), an attribute of its class,
its entry point or its module. Then a request of the Open Inference Protocol is a row with one array
per input, and what the handler returns for it becomes the outputs. The body of any other request is
an array where its content type says so.

The server writes tensors little endian into the request arena, each on a boundary of 64 bytes where
it can choose, and names their type and shape in the input's content type.

Source: <https://github.com/kserve/open-inference-protocol>, and Triton's binary tensor extension.
"""

from __future__ import annotations

import base64
import inspect
import io
import json
import struct
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from tserve_worker.errors import InvalidHandlerError, InvalidReplyError, PredictionException

if TYPE_CHECKING:
    import numpy

    from tserve_worker._context import Context, RequestProcessor

Kind = Literal["numpy", "torch"]
KINDS: tuple[Kind, ...] = ("numpy", "torch")
JSON_TYPES = ("float32", "float64", "int64")

TENSOR_TYPE = "application/vnd.tserve.tensor"
"""Content type of an input that is a tensor; ``;FP32;2,3`` follows, in Fortran's order ``;F``."""

ASKED_HEADER = "open-inference-request"
"""Request header with what the client wants; only requests of the protocol have it."""

LENGTH_HEADER = "inference-header-content-length"
"""Response header that says where the JSON of an answer ends and the bytes of outputs begin."""

NUMPY_NAMES = {
    "BOOL": "?",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
"""Type codes of numpy by datatype. It has none for BF16."""

DATATYPES = {code.lstrip("<"): datatype for datatype, code in NUMPY_NAMES.items()}
_LENGTH = struct.Struct("<I")


def typed_inputs_of(entry_point: Callable[..., Any]) -> Kind | None:
    """Find out what a handler asks for.

    Raises:
        InvalidHandlerError: it asks for something else than numpy or torch.
    """
    kind: Kind | None = _asked(entry_point, "typed_inputs")
    if kind is not None and kind not in KINDS:
        raise InvalidHandlerError(f"typed_inputs is {kind!r}; it can be {' or '.join(KINDS)}")
    return kind


def json_numbers_of(entry_point: Callable[..., Any]) -> str | None:
    """Find out what a handler with typed inputs wants of numbers in JSON: a type, or what is usual.

    Raises:
        InvalidHandlerError: it asks for a type that there is not.
    """
    kind = typed_inputs_of(entry_point)
    numbers = _asked(entry_point, "typed_json")
    if numbers is not None and numbers not in JSON_TYPES:
        raise InvalidHandlerError(f"typed_json is {numbers!r}; it can be {' or '.join(JSON_TYPES)}")
    return kind and (numbers or kind)


def _asked(entry_point: Callable[..., Any], name: str) -> Any:
    """Return an attribute of a handler's class, its entry point or its module."""
    owner = getattr(entry_point, "__self__", entry_point)
    value = getattr(owner, name, None)
    if value is None and owner is entry_point:
        value = getattr(entry_point, "__globals__", {}).get(name)
    return value


class TypedEntryPoint:
    """Stands before an entry point that takes typed inputs, in place of an envelope."""

    def __init__(
        self, entry_point: Callable[[Any, Any], Any], kind: Kind, json_numbers: str | None = None
    ) -> None:
        """Wrap an entry point."""
        self._entry_point = entry_point
        self._kind = kind
        self._json_numbers = json_numbers

    def __call__(self, data: Any, context: Context) -> Any:
        """Answer a batch."""
        asked = [
            processor.get_request_property(ASKED_HEADER) for processor in context.request_processor
        ]
        rows = [
            self._plain_row(row, processor) if wish is None else self._typed_row(row)
            for row, wish, processor in zip(data, asked, context.request_processor, strict=True)
        ]
        results = self._entry_point(rows, context)
        if inspect.isawaitable(results):
            return self._pack_later(results, asked, context)
        return self._pack(results, asked, context)

    async def _pack_later(
        self, results: Awaitable[Any], asked: list[str | None], context: Context
    ) -> Any:
        """Pack what an asynchronous handler answers."""
        return self._pack(await results, asked, context)

    def _pack(self, results: Any, asked: list[str | None], context: Context) -> Any:
        """Make outputs of the results of this protocol's requests."""
        if not isinstance(results, list) or len(results) != len(asked):
            # What is wrong with that is said where all results are checked.
            return results
        for index, wish in enumerate(asked):
            if wish is not None and context.get_response_status(index)[0] < 400:
                head, body = pack(results[index], json.loads(wish).get("outputs") or [])
                context.set_response_header(index, LENGTH_HEADER, str(head))
                results[index] = body
        return results

    def _typed_row(self, row: dict[str, Any]) -> dict[str, Any]:
        """Make arrays of a request that came as JSON, before the server knew of this handler."""
        body = row.get("body")
        if set(row) != {"body"} or not isinstance(body, dict):
            return row
        return {entry["name"]: self._from_json(entry) for entry in body["inputs"]}

    def _plain_row(self, row: dict[str, Any], processor: RequestProcessor) -> dict[str, Any]:
        """Make an array of a plain body that came before the server knew of this handler.

        Raises:
            PredictionException: it is not what its content type says.
        """
        described = processor.get_request_property("body")
        if set(row) != {"body"} or not isinstance(described, dict):
            return row
        try:
            array = plain_array(row["body"], described.get("content-type"), self._json_numbers)
        except (ValueError, OverflowError, EOFError) as exc:
            raise PredictionException(f"the body is no array of numbers: {exc}", 400) from exc
        if array is None:
            return row
        if self._kind == "numpy":
            return {"body": array}
        import torch

        return {"body": torch.from_numpy(array)}

    def _from_json(self, entry: dict[str, Any]) -> Any:
        import numpy

        datatype, shape = entry["datatype"], entry["shape"]
        flat = list(flatten(entry["data"]))
        if datatype == "BYTES":
            is_base64 = (entry.get("parameters") or {}).get("content_type") == "base64"
            elements = [base64.b64decode(it) if is_base64 else it.encode() for it in flat]
            array = numpy.empty(len(elements), dtype=object)
            array[:] = elements
            return array.reshape(shape)
        array = numpy.array(flat, dtype=numpy_type(datatype)).reshape(shape)
        if self._kind == "numpy":
            return array
        import torch

        return torch.from_numpy(array).to(torch_type(datatype))


def plain_array(body: Any, content_type: Any, json_numbers: str | None) -> numpy.ndarray | None:
    """Make an array of a plain body by its content type; None of one that is to stay as it is.

    Raises:
        ValueError: it is not what its type says.
    """
    import numpy

    if isinstance(body, bytearray) and content_type == "application/octet-stream":
        return numpy.frombuffer(body, numpy.uint8)
    if isinstance(body, bytearray) and content_type in ("application/x-npy", "application/npy"):
        loaded: numpy.ndarray = numpy.lib.format.read_array(io.BytesIO(body), allow_pickle=False)
        return loaded
    is_number = isinstance(body, (int, float)) and not isinstance(body, bool)
    if content_type != "application/json" or not (is_number or isinstance(body, list)):
        return None
    array = numpy.array(body)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"its elements are of type {array.dtype}")
    usual = "int64"
    if array.dtype.kind != "i":
        usual = "float32" if json_numbers == "torch" else "float64"
    wanted = array.astype(json_numbers if json_numbers in JSON_TYPES else usual)
    if wanted.dtype.kind == "i" and (wanted != array).any():
        raise ValueError("some of its elements are no int64")
    return wanted


def parse_type(content_type: str) -> tuple[str, tuple[int, ...], Literal["C", "F"]]:
    """Take datatype, shape and order of the elements from the content type of a tensor."""
    _, datatype, shape, *order = content_type.split(";")
    sizes = tuple(int(size) for size in shape.split(",") if size)
    return datatype, sizes, "F" if order == ["F"] else "C"


def split_bytes(data: bytes) -> list[bytes]:
    """Split the elements of a BYTES tensor, each of which has its length before it."""
    elements = []
    start = 0
    while start < len(data):
        (length,) = _LENGTH.unpack_from(data, start)
        start += _LENGTH.size
        elements.append(data[start : start + length])
        start += length
    return elements


def join_bytes(elements: Iterable[Any]) -> bytes:
    """Write the elements of a BYTES tensor; what is no bytes is written as text."""
    parts: list[bytes] = []
    for element in elements:
        data = bytes(element) if isinstance(element, (bytes, bytearray)) else str(element).encode()
        parts += [_LENGTH.pack(len(data)), data]
    return b"".join(parts)


def widen(array: numpy.ndarray) -> numpy.ndarray:
    """Turn the bits of BF16 into float32, which has the same first half."""
    import numpy

    return numpy.left_shift(array.astype(numpy.uint32), 16).view(numpy.float32)


def flatten(data: Any) -> Iterable[Any]:
    """Run through nested lists in order."""
    if isinstance(data, list):
        for item in data:
            yield from flatten(item)
    else:
        yield data


def pack(result: Any, wanted: Sequence[str]) -> tuple[int, bytes]:
    """Write one result as outputs, in the form of the protocol's binary extension.

    Args:
        result: arrays by name, a list or tuple of arrays, or one array; scalars, texts, bytes and
            nested lists are arrays too.
        wanted: names of outputs that the client wants; none: all. They also name outputs that the
            handler gives no name.

    Returns:
        (length of the JSON, JSON and the bytes of all outputs).

    Raises:
        InvalidReplyError: an output has no datatype of the protocol.
    """
    named = name_outputs(result, wanted)
    if wanted and all(name in named for name in wanted):
        named = {name: named[name] for name in wanted}
    outputs = []
    parts: list[Any] = [b""]
    for name, value in named.items():
        datatype, shape, data = encode_tensor(name, value)
        size = memoryview(data).nbytes
        parameters = {"binary_data_size": size}
        outputs.append(
            {"name": name, "datatype": datatype, "shape": shape, "parameters": parameters}
        )
        parts.append(data)
    parts[0] = json.dumps({"outputs": outputs}).encode()
    return len(parts[0]), b"".join(parts)


def name_outputs(result: Any, wanted: Sequence[str]) -> dict[str, Any]:
    """Give every output a name: the handler's, else the client's, else ``output_0`` and so on."""
    if isinstance(result, Mapping):
        return {str(name): value for name, value in result.items()}
    is_several = isinstance(result, tuple) or (
        isinstance(result, list) and bool(result) and all(_is_array(item) for item in result)
    )
    values = list(result) if is_several else [result]
    if len(wanted) == len(values):
        return dict(zip(wanted, values, strict=True))
    return {f"output_{index}": value for index, value in enumerate(values)}


def encode_tensor(name: str, value: Any) -> tuple[str, list[int], Any]:
    """Describe an output.

    Returns:
        (datatype, shape, elements as a contiguous buffer in little endian).

    Raises:
        InvalidReplyError: it has no datatype of the protocol.
    """
    import numpy

    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        if value.dtype == torch.bfloat16:
            return "BF16", list(value.shape), _buffer(value.contiguous().view(torch.int16).numpy())
        value = value.resolve_conj().resolve_neg().numpy()
    if isinstance(value, bytearray):
        value = bytes(value)
    try:
        array = numpy.asarray(value)
        if array.dtype.kind in "SU" and not isinstance(value, numpy.ndarray):
            # As texts of numpy they would lose zeros at their ends.
            array = numpy.asarray(value, dtype=object)
    except ValueError as exc:
        raise _unsupported(name, f"it is no array: {exc}") from exc
    shape = list(array.shape)
    if array.dtype.kind in "SUO":
        if array.dtype.kind == "O" and any(_is_nested(item) for item in array.flat):
            raise _unsupported(name, "its elements are neither texts nor bytes")
        return "BYTES", shape, join_bytes(array.flat)
    if array.dtype.name == "bfloat16":
        return "BF16", shape, _buffer(array.view(numpy.uint16))
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    datatype = DATATYPES.get(array.dtype.str.lstrip("<|"), DATATYPES.get(array.dtype.char))
    if datatype is None:
        raise _unsupported(name, f"the protocol has no datatype for {array.dtype}")
    return datatype, shape, _buffer(array)


def _buffer(array: numpy.ndarray) -> Any:
    """Return the elements in row-major order."""
    import numpy

    if array.size == 0:
        # A buffer with a dimension of zero cannot be cast.
        return b""
    flat: Any = numpy.ascontiguousarray(array).reshape(-1)
    return memoryview(flat).cast("B")


def _is_array(value: Any) -> bool:
    return hasattr(value, "dtype") and hasattr(value, "shape") and len(value.shape) > 0


def _is_nested(value: Any) -> bool:
    return value is None or isinstance(value, (list, tuple, dict, set)) or _is_array(value)


def numpy_type(datatype: str) -> Any:
    """Return numpy's type of an array of that datatype."""
    import numpy

    # What is wider than BF16 and holds all of its values.
    return numpy.dtype(NUMPY_NAMES.get(datatype, "O" if datatype == "BYTES" else "<f4"))


def torch_type(datatype: str) -> Any:
    """Return torch's type, None for BYTES and for what this version of torch does not have."""
    import torch

    names = {"BOOL": "bool", "FP16": "float16", "BF16": "bfloat16", "FP32": "float32"}
    return getattr(torch, names.get(datatype, datatype.lower().replace("fp", "float")), None)


def _unsupported(name: str, detail: str) -> InvalidReplyError:
    return InvalidReplyError(
        503, "Unsupported model output data type.", f"output {name!r}: {detail}"
    )
