"""Stateful: sequence batching, with the ids of clients."""

from harness.gallery import Case, text


def ask(number, sequence, **marks):
    headers = {"ts_request_sequence_id": sequence}
    headers.update({f"ts_request_sequence_{mark}": "true" for mark in marks})
    return text(str(number), headers=headers)


CASE = Case(
    settings={
        "batchSize": 2,
        "maxBatchDelay": 20,
        "sequenceBatching": True,
        "sequenceMaxIdleMSec": 20_000,
        "maxNumSequence": 4,
        "maxSequenceJobQueueSize": 4,
    },
    steps=[
        ask(1, "a", start=True),
        ask(10, "b", start=True),
        ask(2, "a"),
        ask(20, "b"),
        ask(3, "a", end=True),
        ask(30, "b", end=True),
    ],
    # TorchServe at times overlooks a request until its sequence has been idle for too long.
    retries=2,
)
