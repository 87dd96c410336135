"""Micro-batching of a torch handler."""

from harness.gallery import Case, as_json, together

CASE = Case(
    settings={
        "batchSize": 8,
        "maxBatchDelay": 100,
        "micro_batching": {
            "micro_batch_size": 2,
            "parallelism": {"preprocess": 2, "inference": 1, "postprocess": 2},
        },
    },
    steps=[
        as_json([1.5, 2.0]),
        together(*[as_json([float(number), 0.5]) for number in range(7)]),
    ],
)
