"""Raises what a body asks for, from a function below the handler."""


def inner(text):
    try:
        return int(text)
    except ValueError as error:
        raise KeyError(f"no number: {text}") from error


def handle(data, context):
    if data is None:
        return None
    text = bytes(data[0]["body"]).decode()
    if text == "trace":
        trace = context.get_trace()
        return [[trace.trace_id, trace.span_id, trace.sampled] if trace else None] * len(data)
    if text == "list":
        return "not a list"
    if text == "sys":
        import json

        json.loads("{")
    print("said this", flush=True)
    return [str(inner(text))] * len(data)
