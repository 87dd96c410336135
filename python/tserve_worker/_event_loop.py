"""Serve an asynchronous handler: every batch is a task of its own, answered when it is done.

Source: TorchServe ``ts/async_service.py``, for behaviour. Unlike there a call gets a shallow copy
of the context, so that it may hold what cannot be copied, and a handler that is not asynchronous is
called all the same.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import logging
import threading
from typing import TYPE_CHECKING, Any

from tserve_worker import _loop
from tserve_worker._context import RequestProcessor
from tserve_worker._failure import describe_failure
from tserve_worker._reply import ReplyChannel
from tserve_worker.errors import ClientGoneError, ControlError

if TYPE_CHECKING:
    from tserve_worker._control import Control
    from tserve_worker._loader import LoadedModel
    from tserve_worker._protocol import Batch, Link

logger = logging.getLogger(__name__)

CANCELLED = "Prediction cancelled"

END_GRACE_SECONDS = 1.0
"""How long tasks may take to end once the server has closed the link."""


def make() -> asyncio.AbstractEventLoop:
    """Make the loop before the handler is loaded, which may run it or put tasks on it."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop


def run(loop: asyncio.AbstractEventLoop, link: Link, control: Control, model: LoadedModel) -> None:
    """Serve batches on ``loop`` until the server closes the link."""
    # A handler that called asyncio.run while it was loaded has left none behind.
    asyncio.set_event_loop(loop)
    loop.run_until_complete(_Server(loop, model).serve(link, control))


class _Server:
    """The tasks of one worker, by the server's numbers of their batches."""

    def __init__(self, loop: asyncio.AbstractEventLoop, model: LoadedModel) -> None:
        self._loop = loop
        self._model = model
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._end: asyncio.Future[None] = loop.create_future()

    async def serve(self, link: Link, control: Control) -> None:
        """Start a task for each batch, until there are no more."""
        for target, source in ((self._receive, link), (self._listen, control)):
            # They wait in the kernel, and end with the process at the latest.
            threading.Thread(target=target, args=(source,), daemon=True).start()
        await self._end
        tasks = set(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=END_GRACE_SECONDS)

    def _receive(self, link: Link) -> None:
        """Take batches off the link, on a thread of its own."""
        try:
            while (batch := link.recv()) is not None:
                self._loop.call_soon_threadsafe(self._start, batch)
        except BaseException as exc:
            self._loop.call_soon_threadsafe(self._finish, exc)
        else:
            self._loop.call_soon_threadsafe(self._finish, None)

    def _listen(self, control: Control) -> None:
        """Hear from the server what nobody waits for any more, on a thread of its own."""
        try:
            while (message := control.receive()) is not None:
                if message.get("type") == "cancel":
                    self._loop.call_soon_threadsafe(self._cancel, message.get("batch_id"))
        except (OSError, ControlError, RuntimeError) as exc:
            # Without cancelled requests the worker works on; a loop that is closed needs none.
            logger.debug("control socket: %s", exc)

    def _finish(self, error: BaseException | None) -> None:
        if self._end.done():
            return
        if error is None:
            self._end.set_result(None)
        else:
            self._end.set_exception(error)

    def _start(self, batch: Batch) -> None:
        task = self._loop.create_task(answer(batch, self._model))
        self._tasks[batch.number] = task
        task.add_done_callback(lambda done: self._forget(batch, done))

    def _forget(self, batch: Batch, task: asyncio.Task[None]) -> None:
        del self._tasks[batch.number]
        if task.cancelled():
            # Before it had begun, or it would have answered.
            batch.reply(503, CANCELLED, None)
            return
        error = task.exception()
        if isinstance(error, ConnectionError):
            # A handler's own never gets this far: the link was closed before the answer was sent.
            logger.warning("answer not sent: %s", error)
        elif error is not None:
            self._finish(error)

    def _cancel(self, number: Any) -> None:
        task = self._tasks.get(number)
        if task is not None:
            task.cancel()


async def answer(batch: Batch, model: LoadedModel) -> None:
    """Call the handler with one batch and send what came of it, whatever else runs meanwhile."""
    context = copy.copy(model.context)
    context.metrics = copy.copy(model.metrics)
    context.metrics.set_request_ids(batch.ids)
    context.request_ids = batch.ids
    context.request_processor = [RequestProcessor(headers) for headers in batch.headers]
    channel = ReplyChannel(batch, context)
    context.cl_socket = channel
    size = len(batch.ids)
    try:
        result: Any = model.entry_point(batch.take_data(), context)
        if inspect.isawaitable(result):
            result = await result
        batch.handled(*context._take_steps())
        items = channel.encode(result)
        # What is still looked at when the answers are sent has to be copied first.
        del result
    except (SystemExit, KeyboardInterrupt):
        logger.exception("Backend worker process died.")
        raise
    except asyncio.CancelledError:
        # By the server, since nobody waits, or by the handler itself: the batch is over either way.
        channel.send_error(503, CANCELLED)
    except ClientGoneError as exc:
        logger.info("model: %s, stream stopped: %s", context.model_name, exc)
        channel.send_error(500, str(exc))
    except Exception as exc:
        # Whatever a handler raises is its answer to the batch, and the worker must survive it.
        code, message = _loop.explain_failure(exc, context.model_name, size)
        detail = describe_failure(exc, str(context.system_properties.get("model_dir")))
        _loop.send_error(channel, code, message, size, detail)
    else:
        _loop.send(channel, items)
