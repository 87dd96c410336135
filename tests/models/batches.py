"""Tells how many requests came in one call; fails or sets a status where a body asks for it."""


def handle(data, context):
    if data is None:
        return None
    answers = []
    for index, row in enumerate(data):
        body = bytes(row["body"]).decode()
        if body == "raise":
            raise ValueError("one bad request")
        if body == "teapot":
            context.set_response_status(code=418, phrase="Short and stout", idx=index)
        answers.append({"together": len(data), "body": body})
    return answers
