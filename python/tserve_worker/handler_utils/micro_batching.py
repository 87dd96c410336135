"""``MicroBatching``: a batch in slices, which pass the handler's three steps side by side.

Source: TorchServe ``ts/handler_utils/micro_batching.py``, for names and behaviour; unlike there
an exception in a step is raised out of the call.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

STEPS = ("preprocess", "inference", "postprocess")


class MicroBatching:
    """Stands in for a handler's ``handle``: ``self.handle = MicroBatching(self)``.

    While one slice is in inference, the next is preprocessed and the one before postprocessed.

    Attributes:
        micro_batch_size: most rows of a slice; may be changed at any time.
    """

    def __init__(
        self,
        parent_handler: Any,
        micro_batch_size: int = 1,
        parallelism: dict[str, int] | None = None,
    ) -> None:
        """Take over the steps of a handler, as its methods are now.

        Args:
            parent_handler: has ``preprocess``, ``inference`` and ``postprocess``.
            micro_batch_size: most rows of a slice.
            parallelism: threads for each step, 1 unless named.
        """
        self.handler = parent_handler
        self.micro_batch_size = micro_batch_size
        self._functions: dict[str, Callable[[Any], Any]] = {
            step: getattr(parent_handler, step) for step in STEPS
        }
        self._local = threading.local()
        self._parallelism: dict[str, int] = {}
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self.parallelism = {**dict.fromkeys(STEPS, 1), **(parallelism or {})}

    def __del__(self) -> None:
        """End the threads."""
        self.shutdown()

    def __call__(self, data: Any, context: Any) -> Any:
        """Answer a batch as ``BaseHandler.handle`` does; only predictions are sliced."""
        # Only handlers with torch have a reason to be here, and this module must not load it.
        from tserve_worker.handlers import _profile

        started = time.perf_counter()
        handler = self.handler
        handler.context = context
        if _profile.is_enabled():
            output, _ = handler._infer_with_profiler(data=data)
        elif handler._is_describe():
            output = [handler.describe_handle()]
        elif handler._is_explain():
            output = handler.explain_handle(handler.preprocess(data), data)
        else:
            output = self.handle(data)
        duration_ms = round((time.perf_counter() - started) * 1000, 2)
        context.metrics.add_time("HandlerTime", duration_ms, None, "ms")
        return output

    @property
    def parallelism(self) -> dict[str, int]:
        """Threads for each step; a copy."""
        return dict(self._parallelism)

    @parallelism.setter
    def parallelism(self, parallelism: dict[str, int]) -> None:
        """Change the number of threads of the steps named.

        Raises:
            AssertionError: there is no such step, or it would have no thread.
        """
        unknown = set(parallelism) - set(STEPS)
        if unknown:
            raise AssertionError(f"unknown steps {sorted(unknown)}; the steps are {list(STEPS)}")
        if any(count < 1 for count in parallelism.values()):
            raise AssertionError(f"every step needs a thread, got {parallelism}")
        for step, count in parallelism.items():
            if self._parallelism.get(step) == count:
                continue
            old = self._pools.get(step)
            self._pools[step] = ThreadPoolExecutor(count, thread_name_prefix=f"micro-{step}")
            self._parallelism[step] = count
            if old is not None:
                old.shutdown(wait=False)

    def handle(self, data: Any) -> list[Any]:
        """Take the slices of a batch through the steps.

        Returns:
            the results of all slices, one after another, in the order of the rows.

        Raises:
            Exception: whatever a step raises first, in the order of the rows.
        """
        size = self.micro_batch_size
        slices = [data[start : start + size] for start in range(0, len(data), size)]
        has_failed = threading.Event()
        finished = []
        for index, rows in enumerate(slices):
            value: Future[Any] = Future()
            value.set_result(rows)
            for step in STEPS:
                value = self._pools[step].submit(self._run, step, index, value, has_failed)
            finished.append(value)
        # All of them, so that nothing of this batch still runs when the handler gets the next one.
        wait(finished)
        errors = [error for error in (future.exception() for future in finished) if error]
        for error in errors:
            if not isinstance(error, _SkippedError):
                raise error
        return [item for future in finished for item in future.result()]

    def get_micro_batch_idx(self) -> int | None:
        """Return the index of the slice that this thread works on; None outside of a step."""
        return getattr(self._local, "index", None)

    def shutdown(self) -> None:
        """End the threads once they are done."""
        for pool in getattr(self, "_pools", {}).values():
            pool.shutdown(wait=False)

    def _run(self, step: str, index: int, before: Future[Any], has_failed: threading.Event) -> Any:
        """Run one step on one slice, as soon as the step before is through with it."""
        value = before.result()
        if has_failed.is_set():
            raise _SkippedError
        self._local.index = index
        try:
            return self._functions[step](value)
        except BaseException:
            has_failed.set()
            raise
        finally:
            self._local.index = None


class _SkippedError(Exception):
    """Another slice of the batch has failed, so nobody needs this one."""
