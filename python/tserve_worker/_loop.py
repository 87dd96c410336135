"""Receive a batch, call the handler, send the answers, until the server closes the link."""

from __future__ import annotations

import gc
import logging
import sys
import traceback
from typing import TYPE_CHECKING, Any

from tserve_worker._context import RequestProcessor
from tserve_worker._failure import describe_failure
from tserve_worker._loader import LoadedModel, load_model
from tserve_worker._reply import ReplyChannel
from tserve_worker.errors import ClientGoneError, InvalidReplyError, PredictionException
from tserve_worker.metrics import _outlet

if TYPE_CHECKING:
    from tserve_worker._control import Control, LoadRequest
    from tserve_worker._group import Group
    from tserve_worker._protocol import Batch, Item, Link

logger = logging.getLogger(__name__)


def load(
    control: Control,
    request: LoadRequest,
    group: Group | None = None,
    preloaded: LoadedModel | None = None,
) -> LoadedModel | None:
    """Load the handler, wait for the other ranks of a group, and tell the server how that went.

    Args:
        control: where to tell it.
        request: what to load.
        group: the other ranks.
        preloaded: the model, where the template of this worker has loaded it already.

    Returns:
        the model, or None after a failure, which ends the worker.
    """
    logger.info("model_name: %s, batchSize: %d", request.model_name, request.batch_size)
    _outlet.install(_outlet.Outlet(control.metrics))
    _outlet.gather()
    try:
        model = preloaded or load_model(request)
        if group is not None:
            group.wait_until_loaded()
    except BaseException as exc:
        # Even a handler that calls sys.exit while it loads owes its user the reason.
        logger.error("Backend worker process died.")
        _print_traceback(exc)
        control.failed(exc, request.model_dir)
        return None
    # What exists by now stays: the collector need not look through all of torch again and again.
    gc.freeze()
    _outlet.flush()
    control.loaded(model.schemas, model.json_numbers)
    return model


def run(link: Link, model: LoadedModel) -> None:
    """Serve batches until the server closes the link."""
    try:
        while (batch := link.recv()) is not None:
            _outlet.gather()
            answer(batch, model)
            _outlet.flush()
    except ConnectionError as exc:
        # A handler's own never gets this far: the link was closed before the answer was sent.
        logger.warning("answer not sent: %s", exc)


def answer(batch: Batch, model: LoadedModel) -> None:
    """Call the handler with one batch and send what came of it.

    A handler that raises fails its own batch and nothing else; only ``SystemExit`` and
    ``KeyboardInterrupt`` end the worker, as they do in TorchServe.
    """
    context = model.context
    context.request_ids = batch.ids
    context.request_processor = [RequestProcessor(headers) for headers in batch.headers]
    model.metrics.set_request_ids(batch.ids)
    channel = ReplyChannel(batch, context)
    context.cl_socket = channel
    # Ours until the answers are sent: freeing thousands of parsed numbers takes its time, too.
    data = batch.take_data()
    try:
        result = model.entry_point(data, context)
        batch.handled(*context._take_steps())
        items = channel.encode(result)
        if model.typed_inputs:
            # What is still looked at when the answers are sent has to be copied first.
            del data, result
    except (SystemExit, KeyboardInterrupt):
        logger.exception("Backend worker process died.")
        raise
    except ClientGoneError as exc:
        logger.info("model: %s, stream stopped: %s", context.model_name, exc)
        # Nobody reads it, but it tells the server that the batch is done.
        channel.send_error(500, str(exc))
    except Exception as exc:
        # Whatever a handler raises is its answer to the batch, and the worker must survive it.
        code, message = explain_failure(exc, context.model_name, len(batch.ids))
        detail = describe_failure(exc, str(context.system_properties.get("model_dir")))
        send_error(channel, code, message, len(batch.ids), detail)
    else:
        send(channel, items)


def explain_failure(error: Exception, model: str, size: int) -> tuple[int, str]:
    """Choose status and message for a batch that failed, and log the details.

    Source: TorchServe ``ts/service.py``; the substring "CUDA" means 507 in any exception.
    """
    if isinstance(error, InvalidReplyError):
        logger.warning("model: %s, batch size %d: %s", model, size, error)
        return error.code, error.public_message
    if isinstance(error, PredictionException):
        logger.error("model: %s, prediction error", model, exc_info=error)
        return _status(error.error_code), _text(error.message)
    if isinstance(error, MemoryError) or "CUDA" in _text(error):
        logger.error("model: %s, out of resources: %s", model, _text(error), exc_info=error)
        return 507, "Out of resources"
    logger.warning("Invoking custom service failed.", exc_info=error)
    return 503, "Prediction failed"


def send(channel: ReplyChannel, items: list[Item | None]) -> None:
    """Send the answers, or an error in their place when they can never fit."""
    try:
        channel.send(items)
    except OverflowError as exc:
        logger.error("response not sent: %s", exc)
        channel.send_error(500, "Response is too large")


def send_error(channel: ReplyChannel, code: int, message: str, size: int, detail: str) -> None:
    """Fail the batch; an error that carries the status of success becomes one, as it always did."""
    if code == 200:
        channel.send([("error", 200, None, {}) for _ in range(size)])
    else:
        channel.send_error(code, message, detail)


def _status(code: Any) -> int:
    """Return a usable HTTP status, 500 for anything else."""
    return code if isinstance(code, int) and 100 <= code <= 999 else 500


def _text(value: object) -> str:
    """Return a text that can be sent, even for an object whose ``__str__`` raises."""
    try:
        text = str(value)
    except Exception:  # a broken __str__ must not replace the error it belongs to
        return type(value).__name__
    return text.encode(errors="replace").decode()


def _print_traceback(error: BaseException) -> None:
    """Print the whole traceback where the server puts it into the model log."""
    traceback.print_exception(error, file=sys.stderr)
    sys.stderr.flush()
