"""Sends parts that say when they were sent, on the clock that all processes share."""

import time

from ts.handler_utils.utils import send_intermediate_predict_response


def handle(data, context):
    if data is None:
        return None
    count = int(bytes(data[0]["body"]))
    for _ in range(count):
        # Apart from each other, so that none waits for the one before it.
        time.sleep(0.002)
        sent = str(time.monotonic_ns())
        send_intermediate_predict_response(
            [sent] * len(data), context.request_ids, "part", 200, context
        )
    return [""] * len(data)
