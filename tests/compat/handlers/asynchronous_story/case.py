"""Asynchronous and streaming: several at a time."""

from harness.gallery import Case, text, together

CASE = Case(
    settings={"batchSize": 1, "maxBatchDelay": 10, "asyncCommunication": True},
    steps=[text("a"), together(text("b"), text("c"), text("d"))],
)
