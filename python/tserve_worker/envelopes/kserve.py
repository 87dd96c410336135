"""``KServeEnvelope``: KServe's first protocol; batches of one request only.

Source: TorchServe ``ts/torch_handler/request_envelope/kserve.py``.
"""

from __future__ import annotations

import json
from typing import Any

from tserve_worker.envelopes import base


class KServeEnvelope(base.BaseEnvelope):
    """Hands out the instances of the first row."""

    def parse_input(self, data: Any) -> Any:
        """Return the ``instances`` of the first row, None without; bytes are parsed as JSON."""
        body = data[0].get("data") or data[0].get("body")
        if isinstance(body, (bytes, bytearray)):
            body = json.loads(body)
        return body.get("instances")

    def format_output(self, results: Any) -> Any:
        """Return the one answer, with predictions or with explanations."""
        explained = self.context.get_request_header(0, "explain") == "True"
        return [{"explanations" if explained else "predictions": results}]
