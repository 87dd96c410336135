"""The API description of a model tells what its handler's type hints say."""

from __future__ import annotations

import json

import pytest
from harness.client import request
from harness.server import Server

ARCHIVES = ["typed", "noop"]


def described(server: Server, model: str) -> dict[str, object]:
    answer = request(server.port, "OPTIONS", f"/predictions/{model}", None)
    assert answer.status == 200
    found: dict[str, object] = json.loads(answer.body)
    return found


def test_schemas_are_in_the_description(shared_server: Server) -> None:
    document = described(shared_server, "typed")
    operation = document["paths"]["/predictions/typed"]["post"]  # type: ignore[index]
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert body == {
        "type": "object",
        "title": "House",
        "required": ["area"],
        "properties": {"area": {"type": "number"}, "rooms": {"type": "integer"}},
    }
    answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer["properties"] == {"euros": {"type": "number"}}
    assert shared_server.predict_json("typed", {"area": 2}).body == b'{\n  "euros": 2000\n}'


def test_description_stays_valid(shared_server: Server) -> None:
    validator = pytest.importorskip("openapi_spec_validator")
    validator.validate(described(shared_server, "typed"))


def test_handlers_without_hints_are_described_as_before(shared_server: Server) -> None:
    assert "application/json" not in json.dumps(
        described(shared_server, "noop")["paths"]["/predictions/noop"]["post"]["requestBody"]  # type: ignore[index]
    )
