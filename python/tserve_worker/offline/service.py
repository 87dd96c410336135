"""``ts.service``: a handler and its context, called with requests as dicts.

tserve's workers have a loop of their own; this is for tests that load and call a handler.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any

from tserve_worker._context import Context, RequestProcessor
from tserve_worker._loader import LoadedModel
from tserve_worker._loop import explain_failure
from tserve_worker._reply import SUCCESS, check_result
from tserve_worker._version import __version__
from tserve_worker.offline.frames import create_predict_response
from tserve_worker.utils.util import get_yaml_config

PREDICTION_METRIC = "PredictionTime"

logger = logging.getLogger(__name__)


class Service:
    """An entry point with the context that it is called with."""

    cl_socket: Any = None

    def __init__(
        self,
        model_name: str,
        model_dir: str,
        manifest: Any,
        entry_point: Callable[[Any, Context], Any],
        gpu: int | None,
        batch_size: int | None,
        limit_max_image_pixels: bool = True,
        metrics_cache: Any = None,
    ) -> None:
        """Describe a model in a directory.

        Args:
            model_name: registered name.
            model_dir: the unpacked archive; its configuration file is read here.
            manifest: what MANIFEST.json holds, or None.
            entry_point: called with the rows of a batch and the context.
            gpu: index of the device, or None for the CPU.
            batch_size: most requests per call.
            limit_max_image_pixels: whether image handlers keep Pillow's limit.
            metrics_cache: what ``context.metrics`` is.
        """
        name = ((manifest or {}).get("model") or {}).get("configFile")
        config = get_yaml_config(os.path.join(model_dir, name)) if name else {}
        self._entry_point = entry_point
        self._context = Context(
            model_name,
            model_dir,
            manifest,
            batch_size,
            gpu,
            __version__,
            limit_max_image_pixels,
            metrics_cache,
            config,
        )

    @classmethod
    def of(cls, model: LoadedModel) -> Service:
        """Make a service of a handler that is loaded already."""
        service = cls.__new__(cls)
        service._entry_point = model.entry_point
        service._context = model.context
        return service

    @property
    def context(self) -> Context:
        """The one context of all calls."""
        return self._context

    @staticmethod
    def retrieve_data_for_inference(
        batch: list[dict[str, Any]] | None,
    ) -> tuple[list[RequestProcessor], list[dict[str, Any]], dict[int, str]]:
        """Turn requests into what a handler gets.

        Args:
            batch: dicts with ``requestId`` (bytes), ``parameters`` (dicts of ``name``, ``value``
                and ``contentType``) and perhaps ``headers`` (dicts of ``name`` and ``value``).

        Returns:
            (headers of each request, its row of inputs, request ids by index).

        Raises:
            ValueError: there is no batch.
        """
        if batch is None:
            raise ValueError("Received invalid inputs")
        processors, rows, ids = [], [], {}
        for index, request in enumerate(batch):
            headers: dict[str, Any] = {}
            row: dict[str, Any] = {}
            for parameter in request["parameters"]:
                row[parameter["name"]] = parameter["value"]
                headers[parameter["name"]] = {"content-type": parameter["contentType"]}
            for header in request.get("headers") or ():
                headers[header["name"].decode()] = header["value"].decode()
            processors.append(RequestProcessor(headers))
            rows.append(row)
            ids[index] = request["requestId"].decode()
        return processors, rows, ids

    def set_cl_socket(self, cl_socket: Any) -> None:
        """Say where ``send_intermediate_predict_response`` writes to."""
        self.cl_socket = cl_socket

    def predict(self, batch: list[dict[str, Any]] | None) -> bytearray | None:
        """Answer one batch, see ``retrieve_data_for_inference``.

        Returns:
            the frame that TorchServe's worker would send.
        """
        context = self._context
        processors, rows, ids = self.retrieve_data_for_inference(batch)
        context.request_ids = ids
        context.request_processor = processors
        context.cl_socket = self.cl_socket
        if context.metrics is not None:
            context.metrics.request_ids = ids
        started = time.perf_counter()
        try:
            values = check_result(self._entry_point(rows, context), len(ids))
        except Exception as exc:  # whatever a handler raises is its answer to the batch
            code, message = explain_failure(exc, context.model_name, len(ids))
            return create_predict_response(None, ids, message, code)
        if context.metrics is not None:
            duration = round((time.perf_counter() - started) * 1000, 2)
            context.metrics.add_time(PREDICTION_METRIC, duration)
        return create_predict_response(values, ids, SUCCESS, 200, context=context)


def emit_metrics(metrics: Any) -> None:
    """Log metrics as lines that TorchServe's server collects; nothing falsy is logged."""
    for metric in metrics or ():
        logger.info("[METRICS]%s", metric)
