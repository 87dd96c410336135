"""From the type hints of a handler to JSON schemas of a request and an answer.

A handler opts in by annotating its entry point with more than ``list`` and ``dict``::

    @dataclass
    class House:
        area: float
        rooms: int = 1

    def handle(data: list[House], context) -> list[Price]: ...

The hints describe, they do not convert: the handler gets what it always gets.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import json
import types
import typing
from collections.abc import Callable
from typing import Any, Literal, Union, get_args, get_origin

Schema = dict[str, Any]

MAX_DEPTH = 16
"""Types inside types beyond this, and types inside themselves, are anything."""

MAX_CHARS = 64 * 1024
"""Longer schemas are not sent."""

SIMPLE: dict[Any, Schema] = {
    type(None): {"nullable": True},
    bool: {"type": "boolean"},
    bytearray: {"type": "string", "format": "binary"},
    bytes: {"type": "string", "format": "binary"},
    float: {"type": "number"},
    int: {"type": "integer"},
    str: {"type": "string"},
}


def schemas_of(entry_point: Callable[..., Any]) -> dict[str, Schema]:
    """Describe what an entry point takes and gives, as far as its hints tell.

    Returns:
        schemas under ``request`` and ``response``; nothing for what is not a list of typed items.
    """
    try:
        hints = typing.get_type_hints(entry_point, include_extras=False)
        parameters = list(inspect.signature(entry_point).parameters)
        found = {}
        wanted = {"request": parameters[0] if parameters else "", "response": "return"}
        for kind, name in wanted.items():
            item = item_of(hints.get(name))
            if item is not None:
                found[kind] = describe(item, ())
        is_small = len(json.dumps(found)) <= MAX_CHARS
    except Exception:  # hints are written for readers, and may name what only a checker imports
        return {}
    return found if is_small else {}


def item_of(hint: Any) -> Any:
    """Return the type of one row of ``list[T]``; None unless it says something."""
    if get_origin(hint) is not list:
        return None
    item = get_args(hint)[0]
    return item if is_telling(item) else None


def is_telling(item: Any) -> bool:
    """Tell whether a type is more than what every handler gets anyway."""
    if item is Any or isinstance(item, typing.TypeVar):
        return False
    plain = get_origin(item) or item
    if plain is dict:
        # `dict[str, Any]` is what TorchServe's own hints say of a row.
        return any(is_telling(part) for part in get_args(item)[1:])
    return plain is not object


def describe(item: Any, around: tuple[Any, ...]) -> Schema:
    """Return the schema of one type; types that have none are anything.

    Args:
        item: the type.
        around: the types that it is inside of.
    """
    if item in SIMPLE:
        return dict(SIMPLE[item])
    if item in around or len(around) >= MAX_DEPTH:
        return {}
    inside = (*around, item)
    origin, arguments = get_origin(item), get_args(item)
    if origin in (Union, types.UnionType):
        return describe_union(arguments, inside)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (list, set, frozenset) or (origin is tuple and arguments[1:] == (...,)):
        return {"type": "array", "items": describe(arguments[0], inside)}
    if origin is tuple:
        size = len(arguments)
        return {"type": "array", "minItems": size, "maxItems": size}
    if origin is dict:
        return {"type": "object", "additionalProperties": describe(arguments[1], inside)}
    if item in (list, tuple, set, frozenset):
        return {"type": "array", "items": {}}
    if item is dict:
        return {"type": "object"}
    return describe_class(item, inside) if isinstance(item, type) else {}


def describe_union(parts: tuple[Any, ...], inside: tuple[Any, ...]) -> Schema:
    """Return the schema of a union; None in it makes the rest nullable."""
    others = [part for part in parts if part is not type(None)]
    described = [describe(part, inside) for part in others]
    schema = described[0] if len(described) == 1 else {"anyOf": described}
    return {**schema, "nullable": True} if len(others) < len(parts) else schema


def describe_class(item: type, inside: tuple[Any, ...]) -> Schema:
    """Return the schema of an enumeration, a dataclass, a TypedDict or a pydantic model."""
    if issubclass(item, enum.Enum):
        return {"enum": [member.value for member in item]}
    if dataclasses.is_dataclass(item):
        fields = dataclasses.fields(item)
        missing = dataclasses.MISSING
        required = [
            field.name
            for field in fields
            if field.default is missing and field.default_factory is missing
        ]
        return describe_fields(item, [field.name for field in fields], required, inside)
    if typing.is_typeddict(item):
        required = sorted(getattr(item, "__required_keys__", ()))
        return describe_fields(item, list(item.__annotations__), required, inside)
    fields_of_model = getattr(item, "model_fields", None)
    if isinstance(fields_of_model, dict):
        # pydantic 2, if it is there: its fields, since its own schema refers to itself.
        required = [name for name, field in fields_of_model.items() if field.is_required()]
        return describe_fields(item, list(fields_of_model), required, inside)
    return {}


def describe_fields(
    item: type, names: list[str], required: list[str], inside: tuple[Any, ...]
) -> Schema:
    """Return the schema of an object with named fields."""
    hints = typing.get_type_hints(item)
    schema: Schema = {
        "type": "object",
        "title": item.__name__,
        "properties": {name: describe(hints.get(name, Any), inside) for name in names},
    }
    if required:
        schema["required"] = required
    return schema
