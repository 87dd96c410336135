"""``KServev2Envelope``: the open inference protocol; batches of one request only.

Source: TorchServe ``ts/torch_handler/request_envelope/kservev2.py``; the protocol is
<https://github.com/kserve/open-inference-protocol>.
"""

from __future__ import annotations

import json
from typing import Any

from tserve_worker.envelopes import base

DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
"""Datatype of the protocol by numpy's name; text and objects are BYTES."""


class KServev2Envelope(base.BaseEnvelope):
    """Hands out the inputs of the first row, each a dict with its data in shape."""

    def parse_input(self, data: Any) -> Any:
        """Return the inputs of the first row."""
        body = data[0].get("data") or data[0].get("body")
        if isinstance(body, (bytes, bytearray)):
            body = json.loads(body)
        request_id = body.get("id")
        self.context.input_request_id = request_id if request_id and request_id.strip() else None
        self.context.input_names = [entry["name"] for entry in body["inputs"]]
        return [shape_input(dict(entry)) for entry in body["inputs"]]

    def format_output(self, results: Any) -> Any:
        """Return the one answer: each result is an output with the name of the same input."""
        context = self.context
        manifest = (context.manifest or {}).get("model") or {}
        names = context.input_names
        response = {
            "id": context.input_request_id or context.get_request_id(0),
            # The archive's name for itself, even where it is registered under another.
            "model_name": manifest.get("modelName"),
            "model_version": manifest.get("modelVersion"),
            "outputs": [make_output(names[index], result) for index, result in enumerate(results)],
        }
        del context.input_names, context.input_request_id
        return [response]


def shape_input(entry: dict[str, Any]) -> dict[str, Any]:
    """Put the flat data of an input into its shape; of BYTES only the first element counts."""
    import numpy

    if entry.get("datatype") == "BYTES":
        entry["data"] = entry["data"][0]
    else:
        entry["data"] = numpy.array(entry["data"]).reshape(entry["shape"]).tolist()
    return entry


def make_output(name: str, result: Any) -> dict[str, Any]:
    """Describe one result: its datatype, its flat data and their number."""
    import numpy

    array = numpy.array(result)
    flat = array.flatten().tolist()
    return {
        "name": name,
        "datatype": DATATYPES.get(array.dtype.name, "BYTES"),
        "data": flat,
        "shape": [len(flat)],
    }
