"""Asked to be asynchronous, and is not: an ordinary function."""


def handle(data, context):
    return None if data is None else [bytes(row["body"]) for row in data]
