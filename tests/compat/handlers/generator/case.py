"""Continuous batching: text generation."""

from harness.gallery import Case, as_json, together

CASE = Case(
    settings={"batchSize": 4, "maxBatchDelay": 10, "continuousBatching": True},
    steps=[
        as_json({"from": "a", "letters": 30}),
        together(
            as_json({"from": "a", "letters": 5}),
            as_json({"from": "k", "letters": 12}),
            as_json({"from": "x", "letters": 8}),
            as_json({"from": "c", "letters": 2}),
            as_json({"from": "q", "letters": 20}),
        ),
        as_json({"from": "z", "letters": 3}),
    ],
)
