"""What handlers receive over REST: bodies of every kind and size, headers, routes, methods."""

from __future__ import annotations

import hashlib
import socket

import pytest
from harness.client import Answer, Connection, multipart, open_socket, read_to_end, request
from harness.server import Server

ARCHIVES = ["echo", "counted", {"name": "version", "settings": {"batchSize": 4}}]
FORM = "application/x-www-form-urlencoded"
MEBIBYTE = 1 << 20


def echo(
    server: Server, body: bytes = b"", content_type: str = "", path: str = "/predictions/echo"
) -> object:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = request(server.port, "POST", path, body, headers)
    assert answer.status == 200, answer
    return answer.json()


def told(server: Server, what: str, path: str, headers: dict[str, str] | None = None) -> Answer:
    return request(server.port, "POST", path, b"x", {"x-tell": what, **(headers or {})})


def headers_seen(server: Server, message: bytes) -> dict[str, object]:
    """The header dictionary that the handler got for a raw message."""
    with open_socket(server.port) as connection:
        connection.sendall(message)
        connection.shutdown(socket.SHUT_WR)
        answer = read_to_end(connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 \r\n"), answer
    return dict(Answer(200, "", {}, body).json())  # type: ignore[call-overload]


# --- bodies -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [16 * 1024, 16 * 1024 + 1, 3 * MEBIBYTE])
def test_large_raw_body_is_one_input(shared_server: Server, size: int) -> None:
    assert echo(shared_server, b"z" * size) == ["dict", {"body": ["bytearray", f"{size} bytes"]}]


def test_large_json_body_is_parsed(shared_server: Server) -> None:
    numbers = list(range(20_000))
    body = str(numbers).encode()
    row = echo(shared_server, body, "application/json; charset=utf-8")
    assert row == ["dict", {"body": ["list", numbers]}]


def test_large_multipart_body_is_cut_where_it_lies(shared_server: Server) -> None:
    body, content_type = multipart(
        [
            ("one", None, None, b"1"),
            ("big", "b.bin", "application/octet-stream", b"\r\n--x" * 100_000),
            ("note", "n.txt", "text/plain", b"words"),
            ("meta", "m.json", "application/json", b'{"a": 1}'),
        ]
    )
    assert echo(shared_server, body, content_type) == [
        "dict",
        {
            "one": ["bytearray", b"1".hex()],
            "big": ["bytearray", "500000 bytes"],
            "note": ["str", "words"],
            "meta": ["dict", {"a": 1}],
        },
    ]


def test_large_form_is_decoded(shared_server: Server) -> None:
    body = b"a=" + b"%41" * 20_000 + b"&b=two+words"
    expected = {"a": ["bytearray", "20000 bytes"], "b": ["bytearray", b"two words".hex()]}
    assert echo(shared_server, body, FORM) == ["dict", expected]


@pytest.mark.parametrize("path", ["/predictions/echo", "/predictions/nobody"])
def test_broken_form_is_an_error_before_the_model_is_looked_up(
    shared_server: Server, path: str
) -> None:
    answer = request(shared_server.port, "POST", path, b"a=%zz", {"Content-Type": FORM})
    assert (answer.status, answer.phrase) == (500, "Internal Server Error")
    assert answer.json() == {
        "code": 500,
        "type": "ErrorDataDecoderException",
        "message": "Invalid hex byte at index '0' in string: '%zz'",
    }


@pytest.mark.parametrize("length", [5, 100_000])
def test_garbage_in_a_multipart_form_is_an_empty_form(shared_server: Server, length: int) -> None:
    content_type = "multipart/form-data; boundary=none"
    assert echo(shared_server, b"g" * length, content_type) == ["dict", {}]


@pytest.mark.parametrize("count", [1, 40])
def test_chunked_body_is_one_input(shared_server: Server, count: int) -> None:
    parts = [b"part %d " % number * 1000 for number in range(count)]
    answer = request(shared_server.port, "POST", "/predictions/counted", iter(parts))
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(b"".join(parts)).digest()


def test_kept_connection_serves_bodies_of_all_places_in_turn(shared_server: Server) -> None:
    """Small ones are buffered, large ones go to the model's memory, chunked ones to the heap."""
    with Connection(shared_server.port) as connection:
        for size in (0, 10, 100_000, 10, 17_000, 0, 2 * MEBIBYTE, 1):
            body = bytes([size % 251]) * size
            assert connection.request("POST", "/predictions/counted", body).body == body
            chunked = connection.request("POST", "/predictions/counted", iter([body, b"end"]))
            assert chunked.body == body + b"end"


# --- headers ----------------------------------------------------------------------------------


def test_headers_arrive_as_they_were_spelled(shared_server: Server) -> None:
    message = (
        b"POST /predictions/echo/1.0/more/path HTTP/1.1\r\nHOST: t\r\n"
        b"X-Tell: no\r\nx-tell: headers\r\nX-Cafe: caf\xe9\r\n"
        b"url_path: mine\r\nexplain: True\r\ncontent-LENGTH: 1\r\n\r\nx"
    )
    assert headers_seen(shared_server, message) == {
        "HOST": "t",
        "X-Tell": "no",
        "x-tell": "headers",
        "X-Cafe": "caf\xe9",
        "content-LENGTH": "1",
        "body": {"content-type": ""},
        "url_path": "more/path",
        "explain": "False",
    }


def test_what_the_server_has_dealt_with_is_not_passed_on(shared_server: Server) -> None:
    message = (
        b"POST /v1/models/echo:predict HTTP/1.1\r\nx-tell: headers\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nTrailer: x\r\n\r\n"
    )
    assert headers_seen(shared_server, message) == {
        "x-tell": "headers",
        "content-length": "3",
        "body": {"content-type": ""},
        "explain": "False",
    }


def test_request_without_a_body_has_a_length_of_zero(shared_server: Server) -> None:
    seen = headers_seen(
        shared_server, b"GET /models/echo/invoke HTTP/1.1\r\nx-tell: headers\r\n\r\n"
    )
    assert seen == {"x-tell": "headers", "content-length": "0", "body": {"content-type": ""}}


def test_the_handler_sees_the_id_that_the_client_gets(shared_server: Server) -> None:
    answer = told(shared_server, "id", "/predictions/echo", {"x-request-id": "mine"})
    assert answer.headers["x-request-id"] == answer.text.strip('"')
    assert len(answer.text.strip('"')) == 36


# --- routes and methods -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "explain", "url_path"),
    [
        ("/predictions/echo", "False", ""),
        ("/predictions/echo/1.0/a/b%20c/", "False", "a/b c"),
        ("/explanations/echo", "True", ""),
        ("/explanations/echo/1.0/a", "True", "a"),
        ("/v1/models/echo:predict", "False", None),
        ("/v1/models/echo:explain", "True", None),
        ("/v2/models/echo/infer", "False", None),
        ("/v2/models/echo:x/explain", "True", None),
        ("/models/echo/invoke", None, None),
        ("/echo/predict", None, None),
        ("/echo/1.0/predict", None, None),
    ],
)
def test_routes_tell_the_handler_what_they_are(
    shared_server: Server, path: str, explain: str | None, url_path: str | None
) -> None:
    seen = told(shared_server, "lookups", path).json()
    assert isinstance(seen, dict)
    assert (seen["explain"], seen["url_path"]) == (explain, url_path)


@pytest.mark.parametrize(
    ("path", "takes_query"),
    [
        ("/predictions/echo", False),
        ("/v2/models/echo/infer", False),
        ("/echo/predict", True),
        ("/models/echo/invoke", True),
    ],
)
def test_query_parameters_are_inputs_where_they_always_were(
    shared_server: Server, path: str, takes_query: bool
) -> None:
    row = echo(shared_server, b"x", path=f"{path}?k=v&k=w%20x")
    inputs = {"k": ["bytearray", b"w x".hex()]} if takes_query else {}
    assert row == ["dict", {**inputs, "body": ["bytearray", b"x".hex()]}]


def test_invocations_find_their_model(shared_server: Server) -> None:
    def invoke(query: str, body: bytes = b"", content_type: str = FORM) -> Answer:
        headers = {"Content-Type": content_type}
        return request(shared_server.port, "POST", f"/invocations{query}", body, headers)

    assert invoke("?model_name=echo").status == 200
    assert invoke("", b"model_name=echo&a=1").status == 200
    body, content_type = multipart([("model_name", None, None, b"echo")] * 500)
    assert invoke("", body, content_type).status == 200
    nameless = invoke("")
    assert nameless.status == 400
    assert nameless.message() == "Parameter model_name is required."
    assert invoke("?model_name=").message() == "Model not found: "
    assert invoke("?model_name=%zz").status == 403


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "BREW"])
def test_every_method_predicts(shared_server: Server, method: str) -> None:
    assert request(shared_server.port, method, "/predictions/counted", b"x").body == b"x"


def test_head_predicts_without_a_body_in_the_answer(shared_server: Server) -> None:
    with Connection(shared_server.port) as connection:
        answer = connection.request("HEAD", "/predictions/counted", b"four")
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["content-length"] == "4"
        assert connection.request("POST", "/predictions/counted", b"x").body == b"x"


def test_options_describes_instead_of_predicting(shared_server: Server) -> None:
    answer = request(shared_server.port, "OPTIONS", "/predictions/echo")
    document = answer.json()
    assert isinstance(document, dict)
    assert document["info"]["title"] == "RESTful API for: echo"
    missing = request(shared_server.port, "OPTIONS", "/predictions/nobody")
    assert missing.message() == "Model not found: nobody"


@pytest.mark.parametrize("length", [1, 100_000])
def test_unknown_models_and_versions(shared_server: Server, length: int) -> None:
    def message(path: str) -> str:
        answer = request(shared_server.port, "POST", path, b"x" * length)
        assert answer.status == 404
        return answer.message()

    assert message("/predictions/nobody") == "Model not found: nobody"
    assert message("/predictions/Echo") == "Model not found: Echo"
    assert message("/predictions/echo/9.9") == "Model version: 9.9 does not exist for model: echo"
    assert message("/predictions").startswith("Requested resource is not found")
