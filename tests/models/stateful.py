"""Adds up what each sequence sends, and tells who did it: one worker per sequence, in order.

Keys of the JSON body: n, pause (seconds), die, raise, end (the handler ends the sequence itself),
parts (with continuous batching: how many rounds the answer takes).
"""

import json
import os
import signal
import time

SUMS = {}
ROUNDS = {}


def wish(row, request_id):
    if request_id in ROUNDS:
        return ROUNDS[request_id]
    body = row.get("body")
    return json.loads(bytes(body)) if isinstance(body, (bytes, bytearray)) else body


def handle(data, context):
    if data is None:
        return None
    answers, criteria = [], []
    everyone = [context.get_sequence_id(index) for index in range(len(data))]
    for index, row in enumerate(data):
        request_id, sequence = context.get_request_id(index), everyone[index]
        wanted = wish(row, request_id)
        if wanted.get("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        if wanted.get("raise"):
            raise ValueError("as asked")
        time.sleep(wanted.get("pause", 0))
        if request_id not in ROUNDS:
            if context.get_request_header(index, context.header_key_sequence_start) == "true":
                SUMS[sequence] = 0
            SUMS[sequence] = SUMS.get(sequence, 0) + wanted.get("n", 0)
        answers.append(
            {
                "sum": SUMS[sequence],
                "pid": os.getpid(),
                "together": everyone,
                "start": context.get_request_header(index, context.header_key_sequence_start),
                "end": context.get_request_header(index, context.header_key_sequence_end),
            }
        )
        context.set_response_header(index, context.header_key_sequence_id, sequence)
        if wanted.get("end"):
            context.set_response_header(index, context.header_key_sequence_end, sequence)
        left = wanted.get("parts", 0) - 1
        if "parts" in wanted:
            ROUNDS[request_id] = {**wanted, "parts": left}
            criteria.append(lambda _, left=left: left <= 0)
        else:
            criteria.append(lambda _: None)
    if context.model_yaml_config.get("continuousBatching"):
        context.stopping_criteria = criteria
    return answers
