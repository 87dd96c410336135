"""The context's members, as handlers and TorchServe's tests use them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tserve_worker import Context, RequestProcessor

PUBLIC = {
    "cl_socket",
    "get_all_request_header",
    "get_request_header",
    "get_request_id",
    "get_response_content_type",
    "get_response_headers",
    "get_response_status",
    "get_sequence_id",
    "get_trace",
    "header_key_sequence_end",
    "header_key_sequence_id",
    "header_key_sequence_start",
    "manifest",
    "metrics",
    "model_name",
    "model_yaml_config",
    "request_ids",
    "request_processor",
    "set_all_response_status",
    "set_response_content_type",
    "set_response_header",
    "set_response_status",
    "stopping_criteria",
    "system_properties",
}

HANDLER = "def handle(data, context):\n    return None if data is None else ['x'] * len(data)\n"


@pytest.fixture
def served(serve: Callable[..., Any]) -> Any:
    """A handler that keeps the context of its last call."""
    return serve("echo.py", {"echo.py": HANDLER})


def test_members_are_torchserve_s(served: Any) -> None:
    served.ask("x")
    assert {name for name in dir(served.context) if not name.startswith("_")} == PUBLIC
    assert type(served.context).__module__ == "ts.context"


def test_system_properties(served: Any) -> None:
    properties = dict(served.context.system_properties)
    assert properties.pop("model_dir")
    assert properties.pop("server_version")
    assert properties == {
        "gpu_id": None,
        "batch_size": 1,
        "server_name": "MMS",
        "limit_max_image_pixels": True,
    }


def test_requests_of_a_batch(served: Any) -> None:
    headers = [{"X-A": "1", "body": {"content-type": ""}}, {"x-a": "2"}]
    served.ask("a", "b", headers=headers)
    context = served.context
    assert context.request_ids == {0: "id-0", 1: "id-1"}
    assert context.get_request_id() == "id-0"
    assert context.get_request_id(1) == "id-1"
    assert context.get_request_id(99) is None
    assert context.get_request_header(0, "X-A") == "1"
    assert context.get_request_header(0, "x-a") is None, "names keep their case"
    assert context.get_request_header(0, "body") == {"content-type": ""}
    assert context.get_all_request_header(1) is headers[1]
    with pytest.raises(IndexError):
        context.get_request_header(2, "X-A")
    assert len(context.request_processor) == 2


def test_context_is_one_object_and_keeps_what_handlers_put_on_it(served: Any) -> None:
    first = served.context
    first.cache = {"id": 1}
    served.ask("x")
    assert served.context is first
    assert served.context.cache == {"id": 1}


def test_sequence_headers(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    served.ask("x", headers=[{"ts_request_sequence_id": "seq"}])
    assert served.context.get_sequence_id(0) == "seq"
    assert served.context.header_key_sequence_start == "ts_request_sequence_start"
    assert served.context.header_key_sequence_end == "ts_request_sequence_end"
    monkeypatch.setenv("TS_REQUEST_SEQUENCE_ID", "x-seq")
    assert Context("m", "/", {}, 1, None, "1").header_key_sequence_id == "x-seq"


def test_contexts_compare_by_value_and_have_no_hash() -> None:
    one, two = (Context("m", "/", {}, 1, None, "1") for _ in range(2))
    assert one == two
    two.cache = 1  # type: ignore[attr-defined]
    assert one != two
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)
    assert copy.deepcopy(one) == one


def test_setters(served: Any) -> None:
    context = served.context
    processors = [RequestProcessor({"a": "b"})]
    context.request_processor = processors
    assert context.request_processor is processors
    context.metrics = "metrics"
    assert context.metrics == "metrics"


def test_request_processor_by_itself() -> None:
    processor = RequestProcessor({"a": "b"})
    assert processor.get_request_property("a") == "b"
    assert processor.get_request_property("A") is None
    assert processor.get_request_properties() == {"a": "b"}
    assert processor.get_response_status_code() == 200
    assert processor.get_response_status_phrase() is None
    processor.report_status(404, "Nope")
    assert processor.get_response_status_code() == 404
    assert processor.get_response_status_phrase() == "Nope"
    processor.add_response_property("x", "y")
    assert processor.get_response_header("x") == "y"
    assert processor.get_response_header("z") is None
    assert processor.get_response_headers() == {"x": "y"}
