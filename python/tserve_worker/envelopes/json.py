"""``JSONEnvelope``: TensorFlow Serving's ``{"instances": [...]}`` and ``{"predictions": [...]}``.

Source: TorchServe ``ts/torch_handler/request_envelope/json.py``.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from tserve_worker.envelopes import base


class JSONEnvelope(base.BaseEnvelope):
    """Joins the instances of all rows, and splits the results among the rows again."""

    def __init__(self, handle_fn: Any) -> None:
        """Wrap an entry point."""
        super().__init__(handle_fn)
        self._lengths: list[int] = []

    def parse_input(self, data: Any) -> Any:
        """Return the instances of all rows in one list.

        Base64 is decoded in rows whose first instance is a dict, and in no others.

        Raises:
            TypeError: a body is not a parsed JSON object.
            IndexError: a row has no instances.
        """
        instances: list[Any] = []
        self._lengths = []
        for row in data:
            found = (row.get("data") or row.get("body") or row)["instances"]
            self._lengths.append(len(found))
            if isinstance(found[0], dict):
                found = [decode_instance(instance) for instance in found]
            instances.extend(found)
        return instances

    def format_output(self, results: Any) -> Any:
        """Return one JSON text per row, with as many predictions as it had instances."""
        answers, start = [], 0
        for length in self._lengths:
            answers.append(json.dumps({"predictions": results[start : start + length]}))
            start += length
        return answers


def decode_instance(instance: Any) -> Any:
    """Decode ``{"b64": ...}``, also one level inside a dict."""
    if not isinstance(instance, dict):
        return instance
    if set(instance) == {"b64"}:
        return base64.b64decode(instance["b64"])
    return {
        key: base64.b64decode(value["b64"])
        if isinstance(value, dict) and set(value) == {"b64"}
        else value
        for key, value in instance.items()
    }
