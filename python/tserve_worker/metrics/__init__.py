"""Metrics that a model reports, known to handlers as ``ts.metrics``.

A metric becomes one line on stdout, which the server reads, counts and serves.
"""
