"""``MetricsStore``: a list of measurements, TorchServe's older interface.

Unit tests of handlers use it through ``MockContext``; in a worker ``context.metrics`` is a
``MetricsCacheYamlImpl``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tserve_worker.metrics.dimension import Dimension
from tserve_worker.metrics.metric import Metric
from tserve_worker.metrics.metric_cache_abstract import SIZE_UNITS, TIME_UNITS


class MetricsStore:
    """Collects the measurements of one batch.

    Attributes:
        store: measurements in the order of their first value.
        cache: the same by "name-unit-request-dimensions".
    """

    def __init__(self, request_ids: Any, model_name: str) -> None:
        """Belong to the requests of a batch: a dict by index, or anything with a str."""
        self.store: list[Metric] = []
        self.request_ids = request_ids
        self.model_name = model_name
        self.cache: dict[str, Metric] = {}

    def add_metric(
        self,
        name: str,
        value: Any,
        unit: str,
        idx: int | None = None,
        dimensions: Iterable[Dimension] | None = None,
    ) -> None:
        """Keep a measurement of any unit; a second one of the same kind is only reported."""
        self._add(name, value, self._request(idx), unit, dimensions)

    def add_counter(
        self,
        name: str,
        value: Any,
        idx: int | None = None,
        dimensions: Iterable[Dimension] | None = None,
    ) -> None:
        """Keep a count."""
        self._add(name, value, self._request(idx), "count", dimensions, "counter")

    def add_time(
        self,
        name: str,
        value: Any,
        idx: int | None = None,
        unit: str = "ms",
        dimensions: Iterable[Dimension] | None = None,
    ) -> None:
        """Keep a duration in ms or s.

        Raises:
            ValueError: the unit is another one.
        """
        if unit not in TIME_UNITS:
            raise ValueError(f"the unit for a timed metric should be one of ms or s, not {unit!r}")
        self._add(name, value, self._request(idx), unit, dimensions)

    def add_size(
        self,
        name: str,
        value: Any,
        idx: int | None = None,
        unit: str = "MB",
        dimensions: Iterable[Dimension] | None = None,
    ) -> None:
        """Keep a size in B, kB, MB or GB.

        Raises:
            ValueError: the unit is another one.
        """
        if unit not in SIZE_UNITS:
            raise ValueError(
                f"the unit for a size metric should be one of MB, kB, GB or B, not {unit!r}"
            )
        self._add(name, value, self._request(idx), unit, dimensions)

    def add_percent(
        self,
        name: str,
        value: Any,
        idx: int | None = None,
        dimensions: Iterable[Dimension] | None = None,
    ) -> None:
        """Keep a percentage."""
        self._add(name, value, self._request(idx), "percent", dimensions)

    def add_error(
        self, name: str, value: Any, dimensions: Iterable[Dimension] | None = None
    ) -> None:
        """Keep an error, which belongs to no request."""
        self._add(name, value, None, "", dimensions)

    def _request(self, idx: int | None) -> str | None:
        """Return the id of one request, or all ids comma-separated."""
        if self.request_ids is None:
            return None
        if isinstance(self.request_ids, dict):
            if idx is not None:
                return str(self.request_ids[idx])
            return ",".join(str(one) for one in self.request_ids.values())
        return str(self.request_ids)

    def _add(
        self,
        name: str,
        value: Any,
        request_id: str | None,
        unit: str,
        dimensions: Iterable[Dimension] | None,
        metric_method: str | None = None,
    ) -> None:
        """Keep the first measurement of a kind, report the later ones."""
        labels = list(dimensions or ())
        if request_id is None:
            labels.append(Dimension("Level", "Error"))
        else:
            labels.append(Dimension("ModelName", self.model_name))
            labels.append(Dimension("Level", "Model"))
        key = "-".join([name, unit, str(request_id), *(str(label) for label in labels)])
        known = self.cache.get(key)
        if known is not None:
            known.update(value)
            return
        metric = Metric(name, value, unit, labels, request_id, metric_method)
        self.store.append(metric)
        self.cache[key] = metric
