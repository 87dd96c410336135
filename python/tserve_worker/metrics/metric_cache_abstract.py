"""What handlers call on ``context.metrics``.

Source: TorchServe ``ts/metrics/metric_cache_abstract.py``, for names, arguments and defaults.
"""

from __future__ import annotations

import abc
import logging
import os
from collections.abc import Iterable
from typing import Any

from tserve_worker.metrics.caching_metric import CachingMetric
from tserve_worker.metrics.dimension import Dimension
from tserve_worker.metrics.metric_cache_errors import (
    MetricsCacheKeyError,
    MetricsCacheTypeError,
    MetricsCacheValueError,
)
from tserve_worker.metrics.metric_type_enum import MetricTypes

logger = logging.getLogger(__name__)

TIME_UNITS = ("ms", "s")
SIZE_UNITS = ("MB", "kB", "GB", "B")


class MetricCacheAbstract(abc.ABC):
    """Registered metrics, and shorthands that register on first use.

    Attributes:
        cache: metrics by type, then by name.
        store: kept for TorchServe's sake; always empty.
        request_ids: ids of the running batch by index; a single str while the model loads.
        model_name: value of the dimension ``ModelName``.
        config_file_path: the metrics.yaml, None for the built-in metrics.
    """

    def __init__(self, config_file_path: str | os.PathLike[str] | None = None) -> None:
        """Start without metrics; ``initialize_cache`` reads the configured ones."""
        self.cache: dict[MetricTypes, dict[str, CachingMetric]] = {}
        self.store: list[Any] = []
        self.request_ids: dict[int, str] | str | None = None
        self.model_name: str | None = None
        self.config_file_path = config_file_path

    @abc.abstractmethod
    def initialize_cache(self) -> None:
        """Register the configured metrics."""

    def set_request_ids(self, request_ids: dict[int, str] | str | None) -> None:
        """Say which requests the next values belong to."""
        self.request_ids = request_ids

    def cache_keys(self) -> list[MetricTypes]:
        """List the types for which metrics are registered."""
        return list(self.cache.keys())

    def add_metric_to_cache(
        self,
        metric_name: Any = None,
        unit: Any = None,
        dimension_names: Any = (),
        metric_type: Any = MetricTypes.COUNTER,
        *,
        name: Any = None,
    ) -> CachingMetric:
        """Register a metric, over one of the same name and type with a warning.

        Args:
            metric_name: name; ``name`` is the same, as TorchServe's documentation has it.
            unit: unit, short or long.
            dimension_names: names of the labels.
            metric_type: a ``MetricTypes``.
            name: see ``metric_name``.

        Raises:
            MetricsCacheTypeError: an argument has the wrong type.
        """
        metric_name = name if metric_name is None else metric_name
        self._check_name_and_type(metric_name, metric_type)
        if not isinstance(unit, str):
            raise MetricsCacheTypeError(f"unit of {metric_name} must be a str, not {unit!r}")
        names = list(dimension_names or ())
        if isinstance(dimension_names, str) or not all(isinstance(one, str) for one in names):
            raise MetricsCacheTypeError(
                f"dimension names of {metric_name} must be a list of str, not {dimension_names!r}"
            )
        metrics = self.cache.setdefault(metric_type, {})
        if metric_name in metrics:
            logger.warning("Overriding existing metric %s", metrics[metric_name])
        metric = CachingMetric(metric_name, unit, names, metric_type)
        metrics[metric_name] = metric
        return metric

    def get_metric(self, metric_name: Any, metric_type: Any = MetricTypes.COUNTER) -> CachingMetric:
        """Return a registered metric.

        Raises:
            MetricsCacheKeyError: it is not registered.
            MetricsCacheTypeError: an argument has the wrong type.
        """
        self._check_name_and_type(metric_name, metric_type)
        try:
            return self.cache[metric_type][metric_name]
        except KeyError:
            raise MetricsCacheKeyError(
                f"no metric {metric_name!r} of type {metric_type.value!r} is registered"
            ) from None

    def add_metric(
        self,
        name: str,
        value: Any,
        unit: str,
        idx: int | None = None,
        dimensions: Iterable[Dimension] | None = None,
        metric_type: MetricTypes = MetricTypes.COUNTER,
    ) -> None:
        """Report a value, and register the metric if it is new.

        Args:
            name: name of the metric.
            value: the number.
            unit: unit, which only the first value of a metric decides.
            idx: index of the request it belongs to; None for all of the batch.
            dimensions: labels; ``ModelName`` and ``Level`` are added.
            metric_type: a ``MetricTypes``.
        """
        labels = list(dimensions or ())
        request_ids = self._add_own_labels(labels, idx)
        self._report(name, value, unit, labels, metric_type, request_ids)

    def add_counter(
        self,
        name: str,
        value: Any,
        idx: int | None = None,
        dimensions: Iterable[Dimension] | None = None,
    ) -> None:
        """Count something; see ``add_metric``."""
        self.add_metric(name, value, "count", idx, dimensions, MetricTypes.COUNTER)

    def add_time(
        self,
        name: str,
        value: Any,
        idx: int | None = None,
        unit: str = "ms",
        dimensions: Iterable[Dimension] | None = None,
        metric_type: MetricTypes = MetricTypes.GAUGE,
    ) -> None:
        """Report a duration in ms or s; see ``add_metric``.

        Raises:
            MetricsCacheValueError: the unit is another one.
        """
        if unit not in TIME_UNITS:
            raise MetricsCacheValueError(
                f"the unit for a timed metric should be one of ms or s, not {unit!r}"
            )
        self.add_metric(name, value, unit, idx, dimensions, metric_type)

    def add_size(
        self,
        name: str,
        value: Any,
        idx: int | None = None,
        unit: str = "MB",
        dimensions: Iterable[Dimension] | None = None,
        metric_type: MetricTypes = MetricTypes.GAUGE,
    ) -> None:
        """Report a size in B, kB, MB or GB; see ``add_metric``.

        Raises:
            MetricsCacheValueError: the unit is another one.
        """
        if unit not in SIZE_UNITS:
            raise MetricsCacheValueError(
                f"the unit for a size metric should be one of MB, kB, GB or B, not {unit!r}"
            )
        self.add_metric(name, value, unit, idx, dimensions, metric_type)

    def add_percent(
        self,
        name: str,
        value: Any,
        idx: int | None = None,
        dimensions: Iterable[Dimension] | None = None,
        metric_type: MetricTypes = MetricTypes.GAUGE,
    ) -> None:
        """Report a percentage; see ``add_metric``."""
        self.add_metric(name, value, "percent", idx, dimensions, metric_type)

    def add_error(
        self, name: str, value: Any, dimensions: Iterable[Dimension] | None = None
    ) -> None:
        """Count errors; they belong to the server, not to a request.

        Args:
            name: name of the metric.
            value: the number; a text counts as one error and is logged.
            dimensions: labels; ``Level:Error`` is added.
        """
        if isinstance(value, str):
            logger.error("%s: %s", name, value)
            value = 1
        labels = list(dimensions or ())
        _append_missing(labels, "Level", "Error")
        self._report(name, value, "", labels, MetricTypes.COUNTER, "")

    def _report(
        self,
        name: str,
        value: Any,
        unit: str,
        labels: list[Dimension],
        metric_type: MetricTypes,
        request_ids: str,
    ) -> None:
        """Write the line of one value."""
        metrics = self.cache.get(metric_type)
        metric = None if metrics is None else metrics.get(name)
        if metric is None:
            names = [label.name for label in labels]
            metric = self.add_metric_to_cache(name, unit, names, metric_type)
        metric.add_or_update(value, [label.value for label in labels], request_ids)

    def _add_own_labels(self, labels: list[Dimension], idx: int | None) -> str:
        """Append model and level to the labels.

        Returns:
            ids of the requests the value belongs to, comma-separated.
        """
        ids = self.request_ids
        if not ids:
            _append_missing(labels, "Level", "Error")
            return ""
        if self.model_name:
            _append_missing(labels, "ModelName", self.model_name)
        _append_missing(labels, "Level", "Model")
        if isinstance(ids, str):
            return ids
        return ",".join(ids.values()) if idx is None else ids.get(idx, "")

    @staticmethod
    def _check_name_and_type(metric_name: Any, metric_type: Any) -> None:
        """Refuse what cannot name a metric."""
        if not isinstance(metric_name, str) or not metric_name:
            raise MetricsCacheTypeError(f"the name of a metric must be a str, not {metric_name!r}")
        if not isinstance(metric_type, MetricTypes):
            raise MetricsCacheTypeError(
                f"the type of {metric_name} must be one of MetricTypes, not {metric_type!r}"
            )


def _append_missing(labels: list[Dimension], name: str, value: str) -> None:
    """Append a label unless the caller gave one of that name."""
    if all(label.name != name for label in labels):
        labels.append(Dimension(name, value))
