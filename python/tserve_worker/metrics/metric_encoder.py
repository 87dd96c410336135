"""``MetricEncoder``: metrics as JSON."""

from __future__ import annotations

import json
from typing import Any

from tserve_worker.metrics.dimension import Dimension
from tserve_worker.metrics.metric import Metric


class MetricEncoder(json.JSONEncoder):
    """Encodes ``Metric`` and ``Dimension`` like dicts."""

    def default(self, o: Any) -> Any:
        """Return the dict of a metric or dimension."""
        if isinstance(o, (Metric, Dimension)):
            return o.to_dict()
        return super().default(o)
