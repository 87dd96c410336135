"""Where tserve differs on purpose: what each of the two does, pinned.

Every test here has its row in the table "Different on purpose" of docs/compatibility.md.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from harness.client import open_socket, read_to_end, request
from harness.pair import Pair
from harness.server import Server
from openapi_spec_validator import OpenAPIV30SpecValidator, validate

pytestmark = [pytest.mark.torchserve, pytest.mark.timeout(400)]


def pids_around(server: Server, body: bytes) -> tuple[int, str, bool]:
    """Status and text for a body sent to `returns`, and whether its worker survived."""
    server.wait_until_loaded("returns", 60)
    before = server.worker_pids("returns")
    answer = server.predict("returns", body)
    # A worker that was ended needs a moment to be missed.
    alive = server.predict("returns", b"number", timeout=60).body == b"42"
    assert alive
    server.wait_until_loaded("returns", 60)
    return answer.status, answer.message(), server.worker_pids("returns") == before


@pytest.mark.parametrize("body", [b"huge", b"circle"])
def test_answer_that_cannot_be_sent_costs_no_worker(pair: Pair, body: bytes) -> None:
    ours, theirs = pair.both(lambda server: pids_around(server, body))
    assert theirs == (500, "Worker died.", False)
    assert ours[0] in (500, 503)
    assert ours[1] != "Worker died."
    assert ours[2], "the worker lives"


def test_client_timeout_is_answered(pair: Pair) -> None:
    answer = pair.ours.predict("impatient", b"1.5")
    assert (answer.status, answer.json()["type"]) == (504, "RequestTimeoutException")
    with pytest.raises(TimeoutError):
        pair.theirs.predict("impatient", b"1.5", timeout=4)


def test_two_lengths_are_refused(pair: Pair) -> None:
    def smuggle(server: Server) -> bytes:
        with open_socket(server.port, timeout=3) as connection:
            connection.sendall(
                b"POST /predictions/entry HTTP/1.1\r\nHost: t\r\n"
                b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc"
            )
            try:
                return read_to_end(connection)[:13]
            except TimeoutError:
                return b"waits"

    ours, theirs = pair.both(smuggle)
    assert ours == b"HTTP/1.1 400 "
    assert theirs is not None


def test_every_pipelined_request_has_its_id(pair: Pair) -> None:
    def ids(server: Server) -> int:
        message = b"POST /predictions/entry HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nx"
        with open_socket(server.port, timeout=2) as connection:
            connection.sendall(message * 3)
            received = b""
            try:
                while part := connection.recv(65536):
                    received += part
            except TimeoutError:
                pass  # both keep the connection open
        assert received.count(b"HTTP/1.1 200") == 3
        return received.lower().count(b"x-request-id: ")

    ours, theirs = pair.both(ids)
    assert ours == 3
    assert theirs <= 3


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, str]]:
    """Each operation of an API description with the types of its parameters."""
    return {
        (path, method): {
            parameter["name"]: parameter["schema"]["type"] for parameter in operation["parameters"]
        }
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


@pytest.mark.parametrize("port", ["port", "management_port"])
def test_the_api_description_has_every_operation_and_parameter(pair: Pair, port: str) -> None:
    """It is valid here, which theirs is not; no operation or parameter of theirs is lost."""
    ours, theirs = pair.both(
        lambda server: json.loads(request(getattr(server, port), "OPTIONS", "/").body)
    )
    described = operations(ours)
    for operation, parameters in operations(theirs).items():
        assert parameters.items() <= described[operation].items(), operation
    validate(ours)
    assert not OpenAPIV30SpecValidator(theirs).is_valid()


def test_the_api_description_of_a_model(pair: Pair) -> None:
    ours, theirs = pair.both(
        lambda server: json.loads(server.manage("OPTIONS", "/models/echo").body)
    )
    assert ours["info"]["title"] == theirs["info"]["title"] == "RESTful Management API for: echo"
    described = operations(ours)
    for operation, parameters in operations(theirs).items():
        assert parameters.items() <= described[operation].items(), operation
