"""Answers with the name and version of its model and the request's body."""


def handle(data, context):
    if data is None:
        return None
    who = f"{context.model_name} {context.manifest['model']['modelVersion']} "
    return [who.encode() + bytes(row["body"]) for row in data]
