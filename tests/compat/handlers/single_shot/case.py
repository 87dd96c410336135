"""Continuous batching: whole answers and streams in the same rounds."""

from harness.gallery import Case, as_json, text, together

CASE = Case(
    settings={"batchSize": 3, "maxBatchDelay": 10, "continuousBatching": True},
    steps=[
        text("at once"),
        as_json({"rounds": 3}),
        together(text("one"), as_json({"rounds": 4}), text("two"), as_json({"rounds": 2})),
    ],
)
