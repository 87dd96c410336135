"""``ts.protocol.otf_message_handler``: the frames between TorchServe's server and its workers.

tserve's own workers do not speak them. They are here for tests that drive ``ts.service.Service``,
and for what handlers still import from this module. Integers are 32 bits, big endian; a list ends
with -1.
"""

from __future__ import annotations

import json
import logging
import os
import struct
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tserve_worker import _reply
from tserve_worker.errors import InvalidReplyError
from tserve_worker.handler_utils import utils
from tserve_worker.utils.util import deprecated

bool_size = 1
int_size = 4
END_OF_LIST = -1
LOAD_MSG = b"L"
PREDICT_MSG = b"I"
RESPONSE = 3

Part = TypeVar("Part")

logger = logging.getLogger(__name__)


def create_predict_response(
    ret: Any,
    req_id_map: Mapping[int, str],
    message: str,
    code: int,
    context: Any = None,
    ts_stream_next: bool = False,
) -> bytearray | None:
    """Write the answer to a batch.

    Args:
        ret: one item per request, or None for a failure.
        req_id_map: request id by index.
        message: what clients read when the batch failed.
        code: status of the whole batch.
        context: where statuses and headers of the answers come from; without it they are ``code``
            and none.
        ts_stream_next: whether more parts follow.

    Returns:
        the frame; None in a process of a group that is not its first.
    """
    if not _is_first_rank():
        return None
    frame = bytearray(_integer(code) + _text(message))
    for index, request_id in req_id_map.items():
        try:
            body = b"error" if ret is None else _as_bytes(_reply.encode(ret[index]))
        except InvalidReplyError as exc:
            logger.warning("Unable to serialize model output.", exc_info=True)
            return create_predict_response(None, req_id_map, exc.public_message, exc.code)
        frame += _text(request_id)
        frame += _head(context, index, code, ret, ts_stream_next)
        frame += _bytes(body)
    return frame + _integer(END_OF_LIST)


def create_load_model_response(code: int, message: str) -> bytearray:
    """Write the answer to a load message."""
    return bytearray(_integer(code) + _text(message) + _integer(END_OF_LIST))


def encode_response_headers(resp_hdr_map: Mapping[str, str]) -> bytearray:
    """Write the headers of one answer: their number, then names and values."""
    encoded = bytearray(_integer(len(resp_hdr_map)))
    for name, value in resp_hdr_map.items():
        encoded += _text(name) + _text(value)
    return encoded


def retrieve_msg(conn: Any) -> tuple[bytes, Any]:
    """Read one message of the server from a socket.

    Returns:
        (``LOAD_MSG``, dict of the model) or (``PREDICT_MSG``, list of requests).

    Raises:
        ValueError: it is another message.
        SystemExit: the other side has closed the connection.
    """
    command = bytes(_take(conn, 1))
    if command == LOAD_MSG:
        return command, _load_message(conn)
    if command == PREDICT_MSG:
        return command, _list(conn, _request)
    raise ValueError(f"Invalid command: {command!r}")


@deprecated(
    version="0.9.0",
    replacement="ts.handler_utils.utils.send_intermediate_predict_response",
)
def send_intermediate_predict_response(
    ret: Any, req_id_map: dict[int, str] | None, message: str, code: int, context: Any = None
) -> None:
    """Send one chunk, see ``tserve_worker.handler_utils.utils``."""
    utils.send_intermediate_predict_response(ret, req_id_map, message, code, context)


def _is_first_rank() -> bool:
    return os.environ.get("LOCAL_RANK", "0") == "0"


def _head(context: Any, index: int, code: int, ret: Any, streaming: bool) -> bytes:
    """Write content type, status, phrase and headers of one answer."""
    if context is None:
        return _text("") + _integer(code) + _text("") + _integer(0)
    headers = context.get_response_headers(index)
    value = None if ret is None else ret[index]
    criterion = _reply.criterion_for(context.stopping_criteria, index)
    _reply.mark_stream(headers, value, streaming, criterion)
    status, phrase = context.get_response_status(index)
    content_type = context.get_response_content_type(index) or ""
    head = _text(content_type) + _integer(200 if status is None else status) + _text(phrase or "")
    return head + bytes(encode_response_headers(headers))


def _as_bytes(body: bytes | bytearray | str) -> bytes | bytearray:
    return body.encode() if isinstance(body, str) else body


def _integer(value: int) -> bytes:
    return struct.pack("!i", value)


def _bytes(value: bytes | bytearray) -> bytes:
    return _integer(len(value)) + value


def _text(value: str) -> bytes:
    return _bytes(value.encode())


def _take(conn: Any, length: int) -> bytearray:
    """Read exactly so many bytes."""
    data = bytearray()
    while len(data) < length:
        received = conn.recv(length - len(data))
        if not received:
            logger.info("Frontend disconnected.")
            sys.exit(0)
        data += received
    return data


def _take_integer(conn: Any) -> int:
    return int(struct.unpack("!i", _take(conn, int_size))[0])


def _take_bytes(conn: Any) -> bytearray:
    return _take(conn, _take_integer(conn))


def _list(conn: Any, read: Callable[[Any, int], Part]) -> list[Part]:
    """Read parts, each of which begins with a length, up to the end of the list."""
    parts = []
    while (length := _take_integer(conn)) != END_OF_LIST:
        parts.append(read(conn, length))
    return parts


def _load_message(conn: Any) -> dict[str, Any]:
    message: dict[str, Any] = {
        "modelName": _take_bytes(conn),
        "modelPath": _take_bytes(conn),
        "batchSize": _take_integer(conn),
        "handler": _take_bytes(conn),
    }
    gpu = _take_integer(conn)
    if gpu >= 0:
        message["gpu"] = gpu
    message["envelope"] = _take_bytes(conn)
    message["limitMaxImagePixels"] = _take(conn, bool_size) != b"\x00"
    return message


def _request(conn: Any, length: int) -> dict[str, Any]:
    return {
        "requestId": _take(conn, length),
        "headers": _list(conn, _header),
        "parameters": _list(conn, _parameter),
    }


def _header(conn: Any, length: int) -> dict[str, bytearray]:
    return {"name": _take(conn, length), "value": _take_bytes(conn)}


def _parameter(conn: Any, length: int) -> dict[str, Any]:
    name = _take(conn, length).decode()
    content_type = _take_bytes(conn).decode()
    value = _take_bytes(conn)
    return {"name": name, "contentType": content_type, "value": _decode(value, content_type)}


def _decode(value: bytearray, content_type: str) -> Any:
    """Parse JSON and decode text, as the worker does with what it is sent."""
    if os.environ.get("TS_DECODE_INPUT_REQUEST", "true") != "true":
        return value
    try:
        if content_type == "application/json":
            return json.loads(value.decode())
        if content_type.startswith("text"):
            return value.decode()
    except ValueError:
        logger.warning("input is not %s; it is passed on as bytes", content_type, exc_info=True)
    return value
