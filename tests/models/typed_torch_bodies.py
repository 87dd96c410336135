"""Takes plain bodies as tensors of torch, which it writes to, and answers their sum and type."""

typed_inputs = "torch"
typed_json = "float32"


def handle(data, context):
    if data is None:
        return None
    answers = []
    for row in data:
        body = row["body"]
        body += 1
        answers.append([str(body.dtype), list(body.shape), body.sum().item()])
    return answers
