"""Stateful: an id that the server makes, and one sequence too many."""

from harness.gallery import Case, text

CASE = Case(
    settings={
        "batchSize": 1,
        "maxBatchDelay": 20,
        "sequenceBatching": True,
        "sequenceMaxIdleMSec": 20_000,
        "maxNumSequence": 2,
        "maxSequenceJobQueueSize": 2,
    },
    steps=[
        text("without an id"),
        text("with one", headers={"ts_request_sequence_id": "a"}),
        text("again", headers={"ts_request_sequence_id": "a"}),
        text("too many", headers={"ts_request_sequence_id": "b"}, status=503),
        text("too many", status=503),
        text("still there", headers={"ts_request_sequence_id": "a"}),
    ],
    # TorchServe at times overlooks a request until its sequence has been idle for too long.
    retries=2,
)
