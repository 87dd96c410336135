"""Streams to every request of a batch."""

from ts.handler_utils.utils import send_intermediate_predict_response


def handle(data, context):
    if data is None:
        return None
    words = [row["body"] for row in data]
    for number in range(3):
        parts = [f"{word}{number} " for word in words]
        send_intermediate_predict_response(
            parts, context.request_ids, "Intermediate response", 200, context
        )
    return [f"{word}!" for word in words]
