"""``CachingMetric``: a registered metric, and the line it writes for every value."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Sequence
from typing import Any

from tserve_worker.metrics import _outlet
from tserve_worker.metrics.dimension import Dimension
from tserve_worker.metrics.metric_type_enum import MetricTypes
from tserve_worker.metrics.unit import long_name

logger = logging.getLogger(__name__)

HOSTNAME = socket.gethostname()


class CachingMetric:
    """A metric with fixed type, unit and names of dimensions.

    Values are not kept: each is one line
    ``[METRICS]<name>.<unit>:<value>|#<dimensions>|#type:<TYPE>|#hostname:<host>,<seconds>[,<ids>]``,
    and the server does the counting. A worker sends the lines to it; elsewhere they are logged.

    Attributes:
        metric_name: name, unique together with the type.
        unit: long name of the unit.
        dimension_names: names of the labels, in the order of the values.
        metric_type: what the server does with a value.
    """

    def __init__(
        self,
        metric_name: str,
        unit: str,
        dimension_names: list[str],
        metric_type: MetricTypes,
    ) -> None:
        """Describe the metric; the unit may be short (``ms``) or long (``Milliseconds``)."""
        self.metric_name = metric_name
        self.unit = long_name(unit)
        self.dimension_names = dimension_names
        self.metric_type = metric_type
        self._head = f"[METRICS]{metric_name}.{self.unit}"
        self._tail = f"#type:{metric_type.name}|#hostname:{HOSTNAME}"

    def __str__(self) -> str:
        """Show the description."""
        return (
            f"[name: {self.metric_name}, unit: {self.unit}, "
            f"dimensions: {self.dimension_names}, type: {self.metric_type}]"
        )

    def emit_metric(self, value: Any, dimension_string: str, request_id: str) -> None:
        """Write the line of one value.

        Args:
            value: the number.
            dimension_string: ``name:value`` pairs, comma-separated.
            request_id: ids of the requests it belongs to, comma-separated; may be empty.
        """
        now = int(time.time())
        line = f"{self._head}:{value}|#{dimension_string}|{self._tail},{now}"
        if request_id:
            line = f"{line},{request_id}"
        if not _outlet.send(line):
            logger.info("%s", line)

    def add_or_update(
        self, value: Any, dimension_values: Sequence[Any] = (), request_id: str = ""
    ) -> None:
        """Report a value; a wrong one is logged and dropped, it never raises.

        Args:
            value: the number; not negative for a counter.
            dimension_values: one per name of the metric's dimensions.
            request_id: ids of the requests it belongs to, comma-separated.
        """
        problem = self._problem(value, dimension_values)
        if problem:
            logger.error("Failed to update metric %s: %s", self, problem)
            return
        pairs = zip(self.dimension_names, dimension_values, strict=True)
        dimensions = ",".join(f"{name}:{label}" for name, label in pairs)
        self.emit_metric(value, dimensions, request_id)

    def update(
        self, value: Any, request_id: str = "", dimensions: Sequence[Dimension] = ()
    ) -> None:
        """Report a value under other dimensions, which replace the metric's own.

        Args:
            value: the number; not negative for a counter.
            request_id: ids of the requests it belongs to, comma-separated.
            dimensions: names and values; none keeps the metric's names, which must be none.
        """
        if dimensions:
            logger.warning("Overriding existing dimensions of metric %s", self)
            self.dimension_names = [dimension.name for dimension in dimensions]
        self.add_or_update(value, [dimension.value for dimension in dimensions], request_id)

    def _problem(self, value: Any, dimension_values: Sequence[Any]) -> str | None:
        """Say why a value cannot be reported."""
        if len(dimension_values) != len(self.dimension_names):
            return f"{len(dimension_values)} dimension values for the names {self.dimension_names}"
        if self.metric_type is MetricTypes.COUNTER and not isinstance(value, str) and value < 0:
            return f"a counter cannot go down by {value}"
        return None
