"""Asynchronous: requests overtake each other."""

from harness.gallery import Case, text, together

CASE = Case(
    settings={"batchSize": 1, "maxBatchDelay": 10, "asyncCommunication": True},
    steps=[
        text("0"),
        together(text("0.6"), text("0.1"), text("0.3")),
        text("0.05"),
    ],
)
