"""Sets status, type and headers of the answer as the JSON body asks."""


def handle(data, context):
    if data is None:
        return None
    answers = []
    for index, row in enumerate(data):
        wish = row["body"]
        if "type" in wish:
            context.set_response_content_type(index, wish["type"])
        for name, value in wish.get("headers", {}).items():
            context.set_response_header(index, name, value)
        if "status" in wish:
            context.set_response_status(
                code=wish["status"], phrase=wish.get("phrase", ""), idx=index
            )
        answers.append(wish.get("answer", "done"))
    return answers
