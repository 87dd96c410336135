"""``Metric``: a single measurement, TorchServe's older interface."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from tserve_worker.metrics.caching_metric import HOSTNAME, CachingMetric
from tserve_worker.metrics.dimension import Dimension
from tserve_worker.metrics.metric_type_enum import MetricTypes
from tserve_worker.metrics.unit import long_name

logger = logging.getLogger(__name__)


class Metric:
    """A value with its unit, labels and request."""

    def __init__(
        self,
        name: str,
        value: Any,
        unit: str,
        dimensions: Sequence[Dimension],
        request_id: str | None = None,
        metric_method: str | None = None,
    ) -> None:
        """Keep a measurement; nothing is reported yet.

        Args:
            name: name of the metric.
            value: the number.
            unit: unit, short or long.
            dimensions: labels.
            request_id: ids of the requests it belongs to, comma-separated.
            metric_method: kept, not used.
        """
        self.name = name
        self.unit = long_name(unit)
        self.metric_method = metric_method
        self.value = value
        self.dimensions = dimensions
        self.request_id = request_id

    def update(self, value: Any) -> None:
        """Report a value as a counter; the measurement itself stays."""
        names = [dimension.name for dimension in self.dimensions]
        metric = CachingMetric(self.name, self.unit, names, MetricTypes.COUNTER)
        values = [dimension.value for dimension in self.dimensions]
        metric.add_or_update(value, values, self.request_id or "")

    def reset(self) -> None:
        """Report zero as a counter; the measurement itself stays."""
        self.update(0)

    def __str__(self) -> str:
        """Write the line that system metrics have: without a type."""
        dimensions = ",".join(str(dimension) for dimension in self.dimensions)
        line = f"{self.name}.{self.unit}:{self.value}|#{dimensions}|#hostname:{HOSTNAME},"
        line += str(int(time.time()))
        return f"{line},{self.request_id}" if self.request_id else line

    def to_dict(self) -> OrderedDict[str, Any]:
        """Return it under the keys of TorchServe's JSON."""
        return OrderedDict(
            MetricName=self.name,
            Value=self.value,
            Unit=self.unit,
            Dimensions=self.dimensions,
            Timestamp=int(time.time()),
            HostName=HOSTNAME,
            RequestId=self.request_id,
        )
