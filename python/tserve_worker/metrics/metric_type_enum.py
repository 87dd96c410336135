"""``MetricTypes``: how the server adds up the values of a metric."""

from __future__ import annotations

import enum


class MetricTypes(enum.Enum):
    """Counters are summed, gauges replaced, histograms observed."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
