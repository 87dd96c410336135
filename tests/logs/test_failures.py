"""What clients and operators learn about handlers that raise."""

from __future__ import annotations

import json
from typing import Any

from conftest import ServerFactory
from harness.processes import wait_until
from harness.server import Server


def error(server: Server, body: bytes) -> dict[str, Any]:
    answer = server.predict("raises", body)
    found: dict[str, Any] = json.loads(answer.body)
    assert answer.status == found["code"] == 503
    return found


def test_an_exception_is_told_where_that_is_wanted(start_server: ServerFactory) -> None:
    server = start_server("raises", config={"error_detail": "true"})
    found = error(server, b"seven")
    assert set(found) == {"code", "type", "message", "detail"}
    assert found["message"] == "Prediction failed"
    assert found["type"] == "InternalServerException"
    detail = found["detail"]
    assert detail["exception"] == "KeyError"
    assert detail["message"] == "'no number: seven'"
    # Both exceptions, and of their frames only those of the archive.
    assert 'File "raises.py", line 6, in inner' in detail["traceback"]
    assert "in handle" in detail["traceback"]
    assert "ValueError: invalid literal" in detail["traceback"]
    assert "tserve_worker" not in detail["traceback"]
    assert str(server.temporary) not in detail["traceback"]
    within_library = error(server, b"sys")["detail"]
    assert within_library["exception"] == "JSONDecodeError"
    assert "decoder.py" not in within_library["traceback"]
    mistake = error(server, b"list")
    assert mistake["message"] == "Invalid model predict output"
    assert "not a list" in mistake["detail"]["message"]


def test_by_default_clients_learn_no_more_than_before(start_server: ServerFactory) -> None:
    server = start_server("raises")
    assert set(error(server, b"seven")) == {"code", "type", "message"}


def test_why_remembers_exceptions_and_ends_of_processes(start_server: ServerFactory) -> None:
    trouble = {"name": "trouble", "settings": {"minWorkers": 1}}
    server = start_server("raises", trouble)
    assert "raises 1.0: 1 of 1 workers ready, no failures" in server.run_client("why", "raises")
    for _ in range(3):
        error(server, b"seven")
    error(server, b"eight")
    text = server.run_client("why", "raises")
    assert "2 failures remembered, the latest last" in text
    assert ", 3 times in a row" in text
    assert text.index("no number: seven") < text.index("no number: eight")
    assert 'File "raises.py", line 6, in inner' in text
    (version,) = json.loads(server.run_client("why", "raises", "--json"))
    assert [it["times"] for it in version["failures"]] == [1, 3]
    assert version["failures"][0]["status"] == 503
    server.predict_json("trouble", {"kind": "hard exit", "code": 3})
    wait_until(
        lambda: "exit status 3" in server.run_client("why", "trouble"), 20, "the end is remembered"
    )
    described = json.loads(server.manage("GET", "/models/raises?failures=true").body)
    assert described[0]["failures"] == version["failures"]
    assert "failures" not in server.describe("raises")
