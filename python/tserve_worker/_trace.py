"""The place of a request in a distributed trace, as the W3C's ``traceparent`` has it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True)
class Trace:
    """A request's place in a trace: what a handler's own spans and calls refer to.

    Attributes:
        traceparent: the header for calls that the handler makes.
        tracestate: the header that goes with it; empty if there is none.
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits; the server's span where it sends spans, else the client's.
        sampled: whether spans of this trace are recorded.
    """

    traceparent: str
    tracestate: str
    trace_id: str
    span_id: str
    sampled: bool


def read_trace(headers: Mapping[str, Any]) -> Trace | None:
    """Find the trace of a request in its headers.

    Returns:
        the trace, or None when there is none, or none that is as the W3C has it.
    """
    found = {name.lower(): value for name, value in headers.items() if len(name) in (10, 11)}
    parent = found.get("traceparent")
    if not isinstance(parent, str) or not (match := _TRACEPARENT.fullmatch(parent)):
        return None
    version, trace, span, flags, more = match.groups()
    if version == "ff" or (version == "00" and more) or not (int(trace, 16) and int(span, 16)):
        return None
    state = found.get("tracestate")
    return Trace(
        traceparent=parent,
        tracestate=state if isinstance(state, str) else "",
        trace_id=trace,
        span_id=span,
        sampled=bool(int(flags, 16) & 1),
    )
