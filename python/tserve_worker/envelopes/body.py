"""``BodyEnvelope``: hands out the bodies alone."""

from __future__ import annotations

from typing import Any

from tserve_worker.envelopes import base


class BodyEnvelope(base.BaseEnvelope):
    """Turns every row into its ``data`` or ``body``."""

    def parse_input(self, data: Any) -> Any:
        """Return one value per row."""
        return [row.get("data") or row.get("body") for row in data]

    def format_output(self, results: Any) -> Any:
        """Return the result as it is."""
        return results
