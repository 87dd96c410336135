"""Answers with what it is told of sequences."""


def handle(data, context):
    if data is None:
        return None
    return [
        {
            "body": row.get("body"),
            "has id": bool(context.get_sequence_id(index)),
            "made here": str(context.get_sequence_id(index)).startswith("ts-seq-"),
            "start": context.get_request_header(index, context.header_key_sequence_start),
            "end": context.get_request_header(index, context.header_key_sequence_end),
        }
        for index, row in enumerate(data)
    ]
