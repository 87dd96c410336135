"""``BaseEnvelope``: unwraps requests, calls the handler, wraps its result."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any


class BaseEnvelope(abc.ABC):
    """Base of all envelopes.

    Attributes:
        context: the context of the running call.
    """

    def __init__(self, handle_fn: Callable[[Any, Any], Any]) -> None:
        """Wrap an entry point."""
        self._handle_fn = handle_fn
        self.context: Any = None

    def handle(self, data: Any, context: Any) -> Any:
        """Answer a batch; nothing falsy is unwrapped or wrapped."""
        self.context = context
        if data:
            data = self.parse_input(data)
        results = self._handle_fn(data, context)
        if results:
            results = self.format_output(results)
        return results

    @abc.abstractmethod
    def parse_input(self, data: Any) -> Any:
        """Turn the rows of a batch into the handler's ``data``."""

    @abc.abstractmethod
    def format_output(self, results: Any) -> Any:
        """Turn the handler's result into one item per row."""
