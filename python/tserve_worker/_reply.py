"""From what a handler returns to what the link sends.

Source: TorchServe ``otf_message_handler.py`` and ``service.py``, for types and messages.
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tserve_worker._native import dumps
from tserve_worker.errors import ClientGoneError, InvalidReplyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tserve_worker._context import Context, RequestProcessor
    from tserve_worker._protocol import Batch, Item

SUCCESS = "Prediction success"
STREAM_NEXT = "ts_stream_next"

_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# Control characters but tab, and halves of characters, which have no encoding.
_FORBIDDEN_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")


class ReplyChannel:
    """The way back to the server for one batch; what handlers see as ``cl_socket``."""

    def __init__(self, batch: Batch, context: Context) -> None:
        """Answer ``batch`` with the statuses and headers that ``context`` has."""
        self._batch = batch
        self._context = context

    def encode(self, result: object) -> list[Item | None]:
        """Turn what the handler returned into one answer per request.

        Raises:
            InvalidReplyError: the result cannot be sent.
        """
        values = check_result(result, len(self._batch.ids))
        return self._items(enumerate(values), streaming=False)

    def send(self, items: Sequence[Item | None]) -> None:
        """Send all answers, which ends the batch.

        Raises:
            OverflowError: they can never fit the reply area; nothing was sent.
        """
        self._batch.reply(200, SUCCESS, items)

    def send_part(
        self, part: Any, request_ids: Mapping[int, str] | Iterable[int], code: int, message: str
    ) -> None:
        """Send one chunk for requests of the batch; more will follow.

        It returns when the chunk is on its way. While a client does not keep up, it waits.

        Args:
            part: indexable by the keys of ``request_ids``.
            request_ids: normally ``context.request_ids``. A part of it, or a map with other keys
                to some of its ids, sends to those requests only.
            code: 200, or the status that fails the whole batch.
            message: what the client reads when ``code`` is not 200.

        Raises:
            InvalidReplyError: a chunk cannot be sent, or a request is not of this batch.
            ClientGoneError: no client of the batch waits for more; nothing was sent.
        """
        try:
            if code != 200:
                self._batch.reply(code, message, None, last=False)
            else:
                values = self._by_index(part, request_ids)
                items = self._items(values, streaming=True)
                self._batch.reply(200, message, items, last=False)
        except BrokenPipeError as exc:
            raise ClientGoneError("every client of this batch is gone") from exc

    def send_error(self, code: int, message: str, detail: str | None = None) -> None:
        """Fail every request of the batch.

        Args:
            code: status of the failure.
            message: what clients read.
            detail: what the operator reads; see ``_failure.describe_failure``.
        """
        self._batch.reply(code, message, None if detail is None else [(detail, code, None, {})])

    def close(self) -> None:
        """Refuse: in TorchServe this broke the worker's connection, which nobody can want."""
        raise RuntimeError("the link to the server belongs to the worker")

    def _by_index(
        self, part: Any, request_ids: Mapping[int, str] | Iterable[int]
    ) -> list[tuple[int, Any]]:
        """Pick the value of each request that gets one, with the request's place in the batch."""
        ids = self._batch.ids
        if request_ids == ids:
            return [(index, part[index]) for index in ids]
        if isinstance(request_ids, Mapping):
            places = {request_id: index for index, request_id in ids.items()}
            chosen = [(places.get(request_ids[key]), key) for key in request_ids]
        else:
            chosen = [(key if key in ids else None, key) for key in request_ids]
        values = []
        for index, key in chosen:
            if index is None:
                raise InvalidReplyError(
                    503,
                    "number of batch response mismatched",
                    f"chunk {key!r} is for no request of this batch of {len(ids)}",
                )
            values.append((index, part[key]))
        return values

    def _items(self, values: Iterable[tuple[int, Any]], *, streaming: bool) -> list[Item | None]:
        """Encode values by the places of their requests, and put status and headers beside them."""
        processors = self._context.request_processor
        criteria = self._context.stopping_criteria
        items: list[Item | None] = [None] * len(self._batch.ids)
        for index, value in values:
            body = encode(value)
            processor = processors[index]
            headers = processor.get_response_headers()
            if streaming or headers or criteria is not None:
                mark_stream(headers, value, streaming, criterion_for(criteria, index))
                check_headers(headers, index)
            items[index] = (body, *check_status(processor, index), headers)
        return items


def check_result(result: object, expected: int) -> list[Any]:
    """Return the handler's result, one value per request.

    Raises:
        InvalidReplyError: it is not a list, or not of the batch's length.
    """
    if not isinstance(result, list):
        raise InvalidReplyError(
            503,
            "Invalid model predict output",
            f"the handler returned {type(result).__name__}, not a list with one item per request",
        )
    if len(result) != expected:
        raise InvalidReplyError(
            503,
            "number of batch response mismatched",
            f"the handler returned {len(result)} items for a batch of {expected}",
        )
    return result


def encode(value: Any) -> bytes | bytearray | str:
    """Turn one item of the handler's result into the body of an answer.

    bytes and str go as they are, tensors as ``torch.save`` writes them, anything else as JSON:
    two-space indent, ASCII-escaped, NaN allowed.

    Raises:
        InvalidReplyError: the value is nothing of these, or refers to itself.
    """
    if isinstance(value, (bytes, bytearray)):
        return value
    if isinstance(value, str):
        return _utf8(value)
    # A handler without torch has no tensors, and torch is not loaded for its sake.
    torch = sys.modules.get("torch")
    tensor = getattr(torch, "Tensor", None)
    if torch is not None and tensor is not None and isinstance(value, tensor):
        buffer = io.BytesIO()
        torch.save(value, buffer)
        return buffer.getvalue()
    text = dumps(value)
    if text is not None:
        return text
    try:
        return json.dumps(value, indent=2)
    except (TypeError, ValueError, RecursionError) as exc:
        raise _unsupported(f"{type(value).__name__} is not JSON: {exc}") from exc


def check_status(processor: RequestProcessor, index: int) -> tuple[int, str | None]:
    """Return status and reason phrase as they may go into a status line.

    Raises:
        InvalidReplyError: the status is no number of three digits, or the phrase no clean text.
    """
    code: Any = processor.get_response_status_code()
    phrase: Any = processor.get_response_status_phrase()
    if not isinstance(code, int):
        code = getattr(code, "__index__", lambda: None)()
    if code is None or not 100 <= code <= 999:
        got = processor.get_response_status_code()
        raise _bad_response(index, f"status {got!r} is not a number from 100 to 999")
    if phrase and not _is_clean(phrase):
        raise _bad_response(index, f"reason phrase {phrase!r} is not a text of one line")
    return int(code), phrase or None


def check_headers(headers: dict[Any, Any], index: int) -> None:
    """See to it that the headers of an answer are names and values that may be sent.

    Raises:
        InvalidReplyError: a name is no HTTP token, or a value not a str of one line.
    """
    for name, value in headers.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise _bad_response(index, f"{name!r} is not the name of a header")
        if not _is_clean(value):
            raise _bad_response(index, f"header {name!r} has {value!r}, not a text of one line")


def mark_stream(headers: dict[str, str], value: Any, streaming: bool, criterion: Any) -> None:
    """Say in the answer's headers whether more chunks follow.

    Args:
        headers: of one answer; changed in place.
        value: the chunk, which the criterion judges.
        streaming: an intermediate chunk; there is always more.
        criterion: called with the chunk: True ends the stream, False goes on, None is no stream.
    """
    if streaming:
        headers[STREAM_NEXT] = "true"
    elif callable(criterion):
        is_last = criterion(value)
        if is_last is not None:
            headers[STREAM_NEXT] = "false" if is_last else "true"
    elif headers.get(STREAM_NEXT) == "true":
        headers[STREAM_NEXT] = "false"


def criterion_for(criteria: Any, index: int) -> Any:
    """Pick the stopping criterion of one request; None where there is none.

    Criteria stay on the context until the handler replaces them, so they may be those of an
    earlier, smaller batch.
    """
    if criteria is None:
        return None
    try:
        return criteria[index]
    except (IndexError, KeyError):
        return None


def _is_clean(value: object) -> bool:
    """Tell whether a value is a text of one line without control characters."""
    return isinstance(value, str) and not _FORBIDDEN_IN_VALUE.search(value)


def _utf8(value: str) -> bytes:
    """Encode a text; lone surrogates have no encoding."""
    try:
        return value.encode()
    except UnicodeEncodeError as exc:
        raise _unsupported(f"text is not Unicode: {exc}") from exc


def _unsupported(detail: str) -> InvalidReplyError:
    return InvalidReplyError(503, "Unsupported model output data type.", detail)


def _bad_response(index: int, detail: str) -> InvalidReplyError:
    return InvalidReplyError(503, "Invalid response status or header", f"request {index}: {detail}")
