"""Type hints of a handler as JSON schemas."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any, Literal, Optional, TypedDict

import pytest

from tserve_worker._schema import schemas_of


class Kind(enum.Enum):
    FLAT = "flat"
    HOUSE = "house"


@dataclass
class House:
    area: float
    kind: Kind
    rooms: int = 1
    tags: list[str] = field(default_factory=list)
    note: str | None = None


class Price(TypedDict):
    amount: float
    currency: Literal["EUR", "USD"]
    parts: dict[str, float]


@dataclass
class Tree:
    left: Optional[Tree] = None  # noqa: UP045


def test_dataclass_and_typed_dict() -> None:
    def handle(data: list[House], context: Any) -> list[Price]:
        return []

    found = schemas_of(handle)
    assert found["request"] == {
        "type": "object",
        "title": "House",
        "required": ["area", "kind"],
        "properties": {
            "area": {"type": "number"},
            "kind": {"enum": ["flat", "house"]},
            "rooms": {"type": "integer"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "note": {"type": "string", "nullable": True},
        },
    }
    assert found["response"]["properties"] == {
        "amount": {"type": "number"},
        "currency": {"enum": ["EUR", "USD"]},
        "parts": {"type": "object", "additionalProperties": {"type": "number"}},
    }
    assert found["response"]["required"] == ["amount", "currency", "parts"]


def test_methods_and_plain_items() -> None:
    class Handler:
        def handle(self, data: list[list[float]], context: Any) -> list[tuple[int, str] | bool]:
            return []

    assert schemas_of(Handler().handle) == {
        "request": {"type": "array", "items": {"type": "number"}},
        "response": {
            "anyOf": [{"type": "array", "minItems": 2, "maxItems": 2}, {"type": "boolean"}]
        },
    }


def test_types_inside_themselves_end() -> None:
    def handle(data: list[Tree], context: Any) -> list[Any]:
        return []

    assert schemas_of(handle) == {
        "request": {
            "type": "object",
            "title": "Tree",
            "properties": {"left": {"nullable": True}},
        }
    }


def test_hints_that_tell_nothing() -> None:
    def bare(data, context):  # type: ignore[no-untyped-def]
        return data

    def vague(data: list[dict[str, Any]], context: Any) -> list[Any]:
        return data

    def other(data: Any, context: Any) -> bytes:
        return b""

    def broken(data: list[Missing], context: Any) -> list[int]:  # type: ignore[name-defined]  # noqa: F821
        return []

    def unspeakable(data: list[Literal[b"x"]], context: Any) -> Any:
        return data

    for handler in (bare, vague, other, broken, unspeakable, print):
        assert schemas_of(handler) == {}, handler


def test_pydantic_models() -> None:
    pydantic = pytest.importorskip("pydantic")
    model = pydantic.create_model("Point", x=(float, ...), y=(float, 0.0))

    def handle(data: Any, context: Any) -> Any:
        return data

    handle.__annotations__ = {"data": list[model]}
    schema = schemas_of(handle)["request"]
    assert (schema["title"], schema["required"]) == ("Point", ["x"])
