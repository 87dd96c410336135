"""``Units``: short names of units, and what metric lines call them."""

from __future__ import annotations

from typing import ClassVar


class Units:
    """Short name to long name; any other unit stands for itself."""

    names: ClassVar[dict[str, str]] = {
        "ms": "Milliseconds",
        "s": "Seconds",
        "percent": "Percent",
        "count": "Count",
        "MB": "Megabytes",
        "GB": "Gigabytes",
        "kB": "Kilobytes",
        "B": "Bytes",
        "": "unit",
    }


def long_name(unit: str) -> str:
    """Return what metric lines call a unit."""
    return Units.names.get(unit, unit)
