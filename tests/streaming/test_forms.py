"""How a stream looks on the wire: chunks, HTTP/1.0, server-sent events; real client libraries."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
import requests
from harness.client import request
from harness.server import Server
from harness.streams import BrokenOff, Stream, parts

ARCHIVES = ["streamer", "counted"]
PATH = "/predictions/streamer"
EVENTS = {"Accept": "text/event-stream"}


def events(body: bytes) -> list[tuple[str, str]]:
    """Name and data of each server-sent event, as a browser would tell them."""
    assert body.endswith(b"\n\n")
    found = []
    for block in body.decode().split("\n\n")[:-1]:
        lines = [line.split(": ", 1) for line in block.split("\n") if line]
        name = "".join(value for key, value in lines if key == "event") or "message"
        found.append((name, "\n".join(value for key, value in lines if key == "data")))
    return found


def test_each_part_is_a_chunk_under_the_head_of_the_first(shared_server: Server) -> None:
    spec = {"tag": "a", "n": 3, "type": "text/plain", "status": 201}
    with Stream(shared_server.port, PATH, spec) as stream:
        status, headers = stream.head()
        assert (status, headers["transfer-encoding"]) == (201, "chunked")
        assert (headers["ts_stream_next"], headers["content-type"]) == ("true", "text/plain")
        assert "content-length" not in headers
        assert headers["connection"] == "keep-alive"
        assert list(stream.chunks()) == parts("a", 3)


def test_a_part_arrives_while_the_handler_is_still_at_work(
    shared_server: Server, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    with Stream(shared_server.port, PATH, {"tag": "a", "n": 2, "gate": str(gate)}) as stream:
        stream.head()
        # The handler sends nothing more before it sees the file.
        assert stream.chunk() == b"a:0;"
        gate.touch()
        assert list(stream.chunks()) == [b"a:1;", b"end"]


def test_empty_parts_and_an_empty_end_are_no_chunks(shared_server: Server) -> None:
    with Stream(shared_server.port, PATH, {"n": 1, "last": ""}) as stream:
        stream.head()
        assert list(stream.chunks()) == [b":0;"]


def test_json_parts_and_large_parts_arrive_as_they_are(shared_server: Server) -> None:
    with Stream(shared_server.port, PATH, {"n": 2, "json": True, "tag": "t"}) as stream:
        stream.head()
        assert [json.loads(chunk) for chunk in list(stream.chunks())[:2]] == [
            {"tag": "t", "part": 0},
            {"tag": "t", "part": 1},
        ]
    with Stream(shared_server.port, PATH, {"n": 2, "size": 3 << 20, "tag": "t"}) as stream:
        stream.head()
        chunks = list(stream.chunks())
    assert [len(chunk) for chunk in chunks] == [3 << 20, 3 << 20, 3]
    assert chunks[1].startswith(b"t:1;...")


def test_a_handler_that_sends_nothing_before_its_result_answers_as_always(
    shared_server: Server,
) -> None:
    with Stream(shared_server.port, PATH, {"n": 0}, headers=EVENTS) as stream:
        status, headers = stream.head()
        assert (status, headers["content-length"]) == (200, "3")
        assert "ts_stream_next" not in headers


def test_the_connection_serves_the_next_request(shared_server: Server) -> None:
    with Stream(shared_server.port, PATH, {"tag": "a"}) as stream:
        # The second request is there before the first is answered.
        stream.ask(PATH, {"tag": "b"})
        for tag in "ab":
            stream.head()
            assert list(stream.chunks()) == parts(tag, 3)


def test_http_1_0_gets_bytes_until_the_connection_ends(shared_server: Server) -> None:
    with Stream(shared_server.port, PATH, {"tag": "a"}, version="HTTP/1.0") as stream:
        _, headers = stream.head()
        assert "transfer-encoding" not in headers
        assert "content-length" not in headers
        assert headers["connection"] == "close"
        assert stream.rest() == b"".join(parts("a", 3))


def test_http_1_0_sees_a_reset_when_the_stream_breaks(
    shared_server: Server, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    spec = {"n": 3, "fail_at": 1, "gate": str(gate)}
    with Stream(shared_server.port, PATH, spec, version="HTTP/1.0") as stream:
        stream.head()
        gate.touch()
        with pytest.raises(ConnectionResetError):
            stream.rest()


def test_head_gets_the_head_only(shared_server: Server) -> None:
    with Stream(shared_server.port, PATH, {"tag": "a"}, method="HEAD") as stream:
        assert stream.head()[1]["transfer-encoding"] == "chunked"
        stream.ask(PATH, {"tag": "b"})
        assert stream.head()[0] == 200
        assert list(stream.chunks()) == parts("b", 3)


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_has_none(shared_server: Server, status: int) -> None:
    with Stream(shared_server.port, PATH, {"status": status}) as stream:
        got, headers = stream.head()
        assert got == status
        assert "transfer-encoding" not in headers
        stream.ask(PATH, {"tag": "b"})
        assert stream.head()[0] == 200


def test_a_status_that_cannot_be_sent_is_an_error(shared_server: Server) -> None:
    answer = shared_server.predict_json("streamer", {"status": 101})
    assert (answer.status, "101" in answer.message()) == (500, True)


def test_events_are_sent_to_who_asks_for_them(shared_server: Server) -> None:
    spec = {"tag": "a", "n": 2, "type": "application/json", "last": "two\nlines"}
    with Stream(shared_server.port, PATH, spec, headers=EVENTS) as stream:
        _, headers = stream.head()
        assert headers["content-type"] == "text/event-stream"
        chunks = list(stream.chunks())
    assert events(b"".join(chunks)) == [
        ("message", "a:0;"),
        ("message", "a:1;"),
        ("message", "two\nlines"),
        ("end", ""),
    ]
    assert chunks[0] == b"data: a:0;\n\n"


def test_a_handler_may_write_events_by_itself(shared_server: Server) -> None:
    spec = {"tag": "data: a", "n": 1, "type": "text/event-stream", "last": "\n\n"}
    with Stream(shared_server.port, PATH, spec, headers=EVENTS) as stream:
        stream.head()
        assert list(stream.chunks()) == [b"data: a:0;", b"\n\n"]


def test_an_error_before_the_first_part_is_an_ordinary_one(shared_server: Server) -> None:
    for headers in ({}, EVENTS):
        body = json.dumps({"fail_at": 0}).encode()
        headers = {"Content-Type": "application/json", **headers}
        answer = request(shared_server.port, "POST", PATH, body, headers)
        assert (answer.status, answer.message()) == (503, "Prediction failed")


def test_an_error_after_the_first_part_breaks_the_chunks_off(shared_server: Server) -> None:
    with Stream(shared_server.port, PATH, {"tag": "a", "fail_at": 2}) as stream:
        stream.head()
        assert [stream.chunk(), stream.chunk()] == [b"a:0;", b"a:1;"]
        with pytest.raises(BrokenOff):
            stream.chunk()
    assert shared_server.predict("counted", b"x").status == 200


def test_an_error_after_the_first_part_is_an_event(shared_server: Server) -> None:
    with Stream(shared_server.port, PATH, {"tag": "a", "fail_at": 1}, headers=EVENTS) as stream:
        stream.head()
        found = events(b"".join(stream.chunks()))
    assert found[0] == ("message", "a:0;")
    assert [name for name, _ in found] == ["message", "error"]
    assert json.loads(found[1][1]) == {
        "code": 503,
        "type": "InternalServerException",
        "message": "Prediction failed",
    }


def test_an_error_in_a_handlers_own_events_is_an_event_and_a_broken_connection(
    shared_server: Server,
) -> None:
    spec = {"tag": "data: a", "fail_at": 1, "type": "text/event-stream"}
    with Stream(shared_server.port, PATH, spec) as stream:
        stream.head()
        assert stream.chunk() == b"data: a:0;"
        assert b"\n\nevent: error\ndata: {" in (stream.chunk() or b"")
        with pytest.raises(BrokenOff):
            stream.chunk()


def test_a_part_may_carry_a_failure(shared_server: Server) -> None:
    spec = {"tag": "a", "code_at": 1, "n": 3}
    with Stream(shared_server.port, PATH, spec, headers=EVENTS) as stream:
        stream.head()
        found = events(b"".join(stream.chunks()))
    assert [name for name, _ in found] == ["message", "error"]
    error = json.loads(found[1][1])
    assert (error["code"], error["message"]) == (507, "as asked")
    assert shared_server.predict_json("streamer", {"n": 0}).body == b"end"


def test_a_part_beyond_max_response_size_ends_the_stream(shared_server: Server) -> None:
    pids = shared_server.worker_pids("streamer")
    spec = {"n": 1, "last_size": 7_000_000}
    with Stream(shared_server.port, PATH, spec, headers=EVENTS) as stream:
        stream.head()
        name, data = events(b"".join(stream.chunks()))[-1]
    assert (name, json.loads(data)["code"]) == ("error", 500)
    assert "max_response_size" in json.loads(data)["message"]
    answer = shared_server.predict_json("streamer", {"n": 1, "size": 7_000_000})
    assert (answer.status, "max_response_size" in answer.message()) == (500, True)
    assert shared_server.worker_pids("streamer") == pids


def test_requests_reads_a_stream(shared_server: Server, tmp_path: Path) -> None:
    gate, url = tmp_path / "gate", f"http://127.0.0.1:{shared_server.port}{PATH}"
    spec = {"tag": "a", "gate": str(gate)}
    with requests.post(url, json=spec, stream=True, timeout=30) as answer:
        chunks = answer.iter_content(None)
        assert next(chunks) == b"a:0;"
        gate.touch()
        assert b"".join(chunks) == b"".join(parts("a", 3)[1:])
    spec = {"tag": "a", "fail_at": 1}
    with requests.post(url, json=spec, stream=True, timeout=30) as answer:
        chunks = answer.iter_content(None)
        assert next(chunks) == b"a:0;"
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            next(chunks)


def test_httpx_reads_a_stream(shared_server: Server, tmp_path: Path) -> None:
    gate, url = tmp_path / "gate", f"http://127.0.0.1:{shared_server.port}{PATH}"
    spec = {"tag": "a", "gate": str(gate)}
    with httpx.stream("POST", url, json=spec, headers=EVENTS, timeout=30) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "data: a:0;"
        gate.touch()
        assert [line for line in lines if line][-2:] == ["event: end", "data: "]
    with (
        pytest.raises(httpx.RemoteProtocolError),
        httpx.stream("POST", url, json={"fail_at": 1}, timeout=30) as answer,
    ):
        answer.read()
