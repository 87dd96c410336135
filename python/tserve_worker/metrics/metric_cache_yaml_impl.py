"""``MetricsCacheYamlImpl``: the metrics of a metrics.yaml.

Source: TorchServe ``ts/metrics/metric_cache_yaml_impl.py`` and ``ts/configs/metrics.yaml``.
"""

from __future__ import annotations

import os
from typing import Any

import yaml

from tserve_worker.metrics.metric_cache_abstract import MetricCacheAbstract
from tserve_worker.metrics.metric_cache_errors import (
    MetricsCacheIOError,
    MetricsCacheKeyError,
    MetricsCachePyYamlError,
    MetricsCacheTypeError,
    MetricsCacheValueError,
)
from tserve_worker.metrics.metric_type_enum import MetricTypes

SECTION = "model_metrics"

BUILT_IN = {
    "gauge": [
        {"name": name, "unit": "ms", "dimensions": ["ModelName", "Level"]}
        for name in ("HandlerTime", "PredictionTime")
    ]
}
"""What the section holds when no file is configured."""


class MetricsCacheYamlImpl(MetricCacheAbstract):
    """Registers the metrics of the section ``model_metrics``."""

    def initialize_cache(self) -> None:
        """Register the configured metrics, or the built-in ones without a file.

        Raises:
            MetricsCacheIOError: the file cannot be read.
            MetricsCachePyYamlError: it is not YAML.
            MetricsCacheValueError: the section is empty, or names a type that does not exist.
            MetricsCacheKeyError: a metric lacks name, unit or dimensions.
            MetricsCacheTypeError: a section is no mapping, or a metric has values of wrong types.
        """
        section = BUILT_IN if self.config_file_path is None else self._read_section()
        for type_name, metrics in section.items():
            try:
                metric_type = MetricTypes(type_name)
            except ValueError as exc:
                raise MetricsCacheValueError(f"invalid metric type {type_name!r}") from exc
            for metric in metrics or ():
                try:
                    name, unit, names = metric["name"], metric["unit"], metric["dimensions"]
                except KeyError as exc:
                    raise MetricsCacheKeyError(f"metric {metric} lacks the key {exc}") from exc
                self.add_metric_to_cache(name, unit, names, metric_type)

    def _read_section(self) -> dict[str, Any]:
        """Read the section of the file."""
        assert self.config_file_path is not None
        path = os.fspath(self.config_file_path)
        try:
            with open(path, encoding="utf-8") as file:
                document = yaml.safe_load(file)
        except OSError as exc:
            raise MetricsCacheIOError(f"cannot read the metrics configuration: {exc}") from exc
        except yaml.YAMLError as exc:
            raise MetricsCachePyYamlError(f"{path} is not YAML: {exc}") from exc
        section = document.get(SECTION) if isinstance(document, dict) else None
        if not section:
            raise MetricsCacheValueError(f"{path} has no metrics in the section {SECTION}")
        if not isinstance(section, dict):
            raise MetricsCacheTypeError(f"section {SECTION} of {path} is not a mapping")
        return section
