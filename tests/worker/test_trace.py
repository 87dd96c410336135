"""The place of a request in a trace, read from its headers."""

from __future__ import annotations

import pytest

from tserve_worker._trace import Trace, read_trace

ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


def test_headers_are_found_in_any_case() -> None:
    headers = {"Traceparent": f"00-{ID}-{SPAN}-01", "TraceState": "a=1", "body": {}}
    assert read_trace(headers) == Trace(headers["Traceparent"], "a=1", ID, SPAN, sampled=True)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "x",
        f"00-{ID}-{SPAN}",
        f"00-{ID.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{ID}-{'0' * 16}-01",
        f"ff-{ID}-{SPAN}-01",
        f"00-{ID}-{SPAN}-01-more",
    ],
)
def test_what_is_malformed_counts_as_absent(header: str) -> None:
    assert read_trace({"traceparent": header}) is None


def test_later_versions_may_say_more() -> None:
    trace = read_trace({"traceparent": f"01-{ID}-{SPAN}-00-more"})
    assert trace is not None
    assert not trace.sampled
    assert read_trace({}) is None
