"""Continuous batching for answers that are ready at once, beside some that are not."""

LEFT = {}


def handle(data, context):
    if data is None:
        return None
    answers, criteria = [], []
    for index, row in enumerate(data):
        request_id = context.get_request_id(index)
        wish = LEFT.setdefault(request_id, row.get("body"))
        if isinstance(wish, str):
            answers.append(wish.upper())
            criteria.append(lambda _: None)
            continue
        wish["rounds"] -= 1
        answers.append({"left": wish["rounds"]})
        criteria.append(lambda answer, wish=wish: wish["rounds"] == 0)
    context.stopping_criteria = criteria
    return answers
