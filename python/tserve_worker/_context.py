"""``Context``: what a handler learns about its model and its requests, and says about answers.

Members, argument order and defaults are TorchServe's (``ts/context.py``).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from tserve_worker._trace import read_trace

if TYPE_CHECKING:
    from tserve_worker._protocol import Headers
    from tserve_worker._trace import Trace
    from tserve_worker.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl

CONTENT_TYPE = "content-type"

NO_STEPS = (0, 0, 0)
"""What a handler says about its steps that has none."""


class RequestProcessor:
    """Headers of one request, and status and headers of its answer."""

    def __init__(self, request_header: Headers) -> None:
        """Start with status 200 and no response headers.

        Args:
            request_header: header names as the client sent them; kept, not copied.
        """
        self._status_code = 200
        self._reason_phrase: str | None = None
        self._response_header: dict[str, str] = {}
        self._request_header = request_header

    def get_request_property(self, key: str) -> Any:
        """Return a request header, the name's case as sent; None when absent."""
        return self._request_header.get(key)

    def get_request_properties(self) -> Headers:
        """Return the live dict of request headers."""
        return self._request_header

    def report_status(self, code: int, reason_phrase: str | None = None) -> None:
        """Set the status of the answer."""
        self._status_code = code
        self._reason_phrase = reason_phrase

    def get_response_status_code(self) -> int:
        """Return the status of the answer, 200 unless set."""
        return self._status_code

    def get_response_status_phrase(self) -> str | None:
        """Return the reason phrase, None unless set."""
        return self._reason_phrase

    def add_response_property(self, key: str, value: str) -> None:
        """Set a header of the answer; the last write wins."""
        self._response_header[key] = value

    def get_response_headers(self) -> dict[str, str]:
        """Return the live dict of the answer's headers."""
        return self._response_header

    def get_response_header(self, key: str) -> str | None:
        """Return a header of the answer; None when it is not set."""
        return self._response_header.get(key)


class Context:
    """The model's surroundings and, during a call, the requests of the batch.

    One object lives as long as the worker. Handlers may put attributes of their own on it.

    Attributes:
        model_name: registered name.
        manifest: MANIFEST.json as it is in the archive, or None.
        model_yaml_config: the model's configuration file; ``{}`` without one.
        request_ids: request id by index in the batch; None before the first batch.
        stopping_criteria: one callable per request of a continuous batch; kept until reassigned.
        cl_socket: the way back to the server, only during and after the first call.
    """

    # Users know the class under this name, from tracebacks, pickles and their own checks.
    __module__ = "ts.context"

    cl_socket: Any

    def __init__(
        self,
        model_name: str,
        model_dir: str,
        manifest: Any,
        batch_size: int | None,
        gpu: int | None,
        mms_version: str,
        limit_max_image_pixels: bool = True,
        metrics: MetricsCacheYamlImpl | None = None,
        model_yaml_config: Any = None,
    ) -> None:
        """Describe a model; requests come later, batch by batch."""
        self.model_name = model_name
        self.manifest = manifest
        self.model_yaml_config = model_yaml_config
        self.request_ids: dict[int, str] | None = None
        self.stopping_criteria: Any = None
        self.header_key_sequence_id = _sequence_header("ID")
        self.header_key_sequence_start = _sequence_header("START")
        self.header_key_sequence_end = _sequence_header("END")
        self._metrics = metrics
        self._request_processor: Any = None
        self._steps = NO_STEPS
        self._system_properties = {
            "model_dir": model_dir,
            "gpu_id": gpu,
            "batch_size": batch_size,
            "server_name": "MMS",
            "server_version": mms_version,
            "limit_max_image_pixels": limit_max_image_pixels,
        }

    @property
    def system_properties(self) -> dict[str, Any]:
        """Directory, device and limits of the worker, under TorchServe's keys."""
        return self._system_properties

    @property
    def request_processor(self) -> Any:
        """One ``RequestProcessor`` per request of the batch; None before the first batch."""
        return self._request_processor

    @request_processor.setter
    def request_processor(self, request_processor: Any) -> None:
        self._request_processor = request_processor

    @property
    def metrics(self) -> Any:
        """The metrics of the model."""
        return self._metrics

    @metrics.setter
    def metrics(self, metrics: Any) -> None:
        self._metrics = metrics

    def _note_steps(self, preprocess: int, inference: int, postprocess: int) -> None:
        """Keep how long the steps of the handler took with this batch, in nanoseconds."""
        self._steps = (preprocess, inference, postprocess)

    def _take_steps(self) -> tuple[int, int, int]:
        """Return what was noted since the last call."""
        steps, self._steps = self._steps, NO_STEPS
        return steps

    def get_request_id(self, idx: int = 0) -> str | None:
        """Return the id of a request, which its answer has as ``x-request-id``."""
        return None if self.request_ids is None else self.request_ids.get(idx)

    def get_request_header(self, idx: int, key: str) -> Any:
        """Return a request header: a str, a dict for the name of a parameter, or None.

        Raises:
            IndexError: the batch has no such request.
            TypeError: there was no request yet.
        """
        return self._request_processor[idx].get_request_property(key)

    def get_all_request_header(self, idx: int) -> Any:
        """Return the live dict of a request's headers."""
        return self._request_processor[idx].get_request_properties()

    def get_trace(self, idx: int = 0) -> Trace | None:
        """Return the place of a request in a distributed trace; None if it has none.

        Not known to TorchServe.
        """
        return read_trace(self._request_processor[idx].get_request_properties())

    def set_response_content_type(self, idx: int, value: str) -> None:
        """Set the content type of one answer."""
        self.set_response_header(idx, CONTENT_TYPE, value)

    def get_response_content_type(self, idx: int) -> Any:
        """Return the content type of one answer; None unless set."""
        return self._request_processor[idx].get_response_header(CONTENT_TYPE)

    def get_response_status(self, idx: int) -> tuple[int, str | None]:
        """Return status and reason phrase of one answer; (200, None) unless set."""
        processor = self._request_processor[idx]
        return processor.get_response_status_code(), processor.get_response_status_phrase()

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        """Set the status of one answer; its body stays what the handler returns.

        Args:
            code: HTTP status.
            phrase: reason phrase.
            idx: index of the request in the batch; last, unlike in the other methods.
        """
        self._request_processor[idx].report_status(code, reason_phrase=phrase)

    def set_all_response_status(self, code: int = 200, phrase: str = "") -> None:
        """Set the status of all answers of the batch."""
        for processor in self._request_processor:
            processor.report_status(code, reason_phrase=phrase)

    def get_response_headers(self, idx: int) -> Any:
        """Return the live dict of one answer's headers."""
        return self._request_processor[idx].get_response_headers()

    def set_response_header(self, idx: int, key: str, value: str) -> None:
        """Set a header of one answer; the last write wins."""
        self._request_processor[idx].add_response_property(key, value)

    def get_sequence_id(self, idx: int) -> Any:
        """Return the sequence that a request belongs to, or None."""
        return self.get_request_header(idx, self.header_key_sequence_id)

    def __eq__(self, other: object) -> bool:
        """Compare all attributes."""
        return isinstance(other, Context) and self.__dict__ == other.__dict__

    # Mutable and compared by value, as in TorchServe.
    __hash__ = None  # type: ignore[assignment]


def _sequence_header(kind: str) -> str:
    """Return the header that carries a sequence's id, start or end."""
    return os.environ.get(f"TS_REQUEST_SEQUENCE_{kind}", f"ts_request_sequence_{kind.lower()}")
