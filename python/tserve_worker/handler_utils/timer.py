"""``timed``: report how long a step of the handler takes."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

from tserve_worker.metrics.metric_type_enum import MetricTypes

Method = TypeVar("Method", bound=Callable[..., Any])


def timed(func: Method) -> Method:
    """Decorate a method of a handler to report its duration as gauge ``ts_handler_<name>`` in ms.

    It reports only while ``self.context`` is set and the model's configuration has
    ``handler: {profile: true}``; otherwise it costs nothing. With CUDA the device is timed.

    Source: TorchServe ``ts/handler_utils/timer.py``.
    """

    @functools.wraps(func)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        context: Any = getattr(self, "context", None)
        if not _is_profiled(context):
            return func(self, *args, **kwargs)
        stop = _start_clock()
        result = func(self, *args, **kwargs)
        context.metrics.add_metric(
            name=f"ts_handler_{func.__name__}",
            value=stop(),
            unit="ms",
            metric_type=MetricTypes.GAUGE,
        )
        return result

    return wrapper  # type: ignore[return-value]


def _is_profiled(context: Any) -> bool:
    """Tell whether the model's configuration asks for durations."""
    config = getattr(context, "model_yaml_config", None) or {}
    return bool((config.get("handler") or {}).get("profile"))


def _start_clock() -> Callable[[], float]:
    """Start a clock, on the GPU if there is one; calling the result stops it, in ms."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        begin = torch.cuda.Event(enable_timing=True)
        end = torch.cuda.Event(enable_timing=True)
        begin.record()

        def stop_on_device() -> float:
            end.record()
            torch.cuda.synchronize()
            return float(begin.elapsed_time(end))

        return stop_on_device
    started = time.perf_counter()
    return lambda: (time.perf_counter() - started) * 1000
