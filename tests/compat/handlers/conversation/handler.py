"""Stateful and streaming: each turn of a conversation is told in rounds, and is remembered."""

HEARD = {}
TURNS = {}


def handle(data, context):
    if data is None:
        return None
    parts, criteria = [], []
    for index, row in enumerate(data):
        request_id, sequence = context.get_request_id(index), context.get_sequence_id(index)
        if request_id not in TURNS:
            HEARD.setdefault(sequence, []).extend(row["body"].split())
            TURNS[request_id] = list(HEARD[sequence])
        turn = TURNS[request_id]
        parts.append(f"{turn.pop(0)}, ")
        context.set_response_header(index, context.header_key_sequence_id, sequence)
        criteria.append(lambda _, turn=turn: not turn)
    context.stopping_criteria = criteria
    return parts
