"""Sequence and continuous batching together."""

from harness.gallery import Case, text


def say(words, conversation="a"):
    return text(words, headers={"ts_request_sequence_id": conversation})


CASE = Case(
    settings={
        "batchSize": 2,
        "maxBatchDelay": 20,
        "sequenceBatching": True,
        "continuousBatching": True,
        "sequenceMaxIdleMSec": 20_000,
        "maxNumSequence": 4,
        "maxSequenceJobQueueSize": 4,
    },
    # Every turn has two parts at least: TorchServe never answers one that is over with its first.
    steps=[say("how are"), say("you"), say("who is", "b"), say("today"), say("there", "b")],
    # TorchServe at times overlooks a request until its sequence has been idle for too long.
    retries=2,
)
