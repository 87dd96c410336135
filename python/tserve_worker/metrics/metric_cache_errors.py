"""Errors of the metrics that handlers may catch.

    GeneralMetricsCacheError
    MetricsCacheIOError         (an OSError)     the configuration file cannot be read
    MetricsCachePyYamlError     (a YAMLError)    it is not YAML
    MetricsCacheTypeError       (a TypeError)    an argument has the wrong type
    MetricsCacheValueError      (a ValueError)   an argument or a section has a wrong value
    MetricsCacheKeyError        (a KeyError)     no such metric, or a key is missing

They have no base in common, as in TorchServe (``ts/metrics/metric_cache_errors.py``).
"""

from __future__ import annotations

import yaml


class GeneralMetricsCacheError(Exception):
    """Anything else about the metrics."""


class MetricsCacheIOError(OSError):
    """The metrics configuration cannot be read."""


class MetricsCachePyYamlError(yaml.YAMLError):
    """The metrics configuration is not YAML."""


class MetricsCacheTypeError(TypeError):
    """An argument has the wrong type."""


class MetricsCacheValueError(ValueError):
    """An argument or a section of the configuration has a wrong value."""


class MetricsCacheKeyError(KeyError):
    """There is no such metric, or a key of the configuration is missing."""

    def __str__(self) -> str:
        """Show the message without the quotes that KeyError puts around it."""
        return str(self.args[0]) if self.args else ""
