"""``Dimension``: one label of a metric."""

from __future__ import annotations


class Dimension:
    """A name and a value that tell measurements of one metric apart."""

    def __init__(self, name: str, value: str) -> None:
        """Keep both as they are."""
        self.name = name
        self.value = value

    def __str__(self) -> str:
        """Write it as a metric line does: ``name:value``."""
        return f"{self.name}:{self.value}"

    def to_dict(self) -> dict[str, str]:
        """Return ``{"Name": ..., "Value": ...}``."""
        return {"Name": self.name, "Value": self.value}
