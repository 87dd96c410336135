"""Does what the JSON in `body` asks, which gRPC sends as bytes; else tells what it was given."""

import json
import time

from ts.handler_utils.utils import send_intermediate_predict_response
from ts.utils.util import PredictionException


def answer(row, index, context):
    wish = json.loads(bytes(row["body"])) if "body" in row else {}
    if "sleep" in wish:
        print(f"sleeping {wish['sleep']}", flush=True)
        time.sleep(wish["sleep"])
    if wish.get("raise") == "value":
        raise ValueError("no good")
    if wish.get("raise") == "memory":
        raise MemoryError
    if wish.get("raise") == "prediction":
        raise PredictionException(wish["message"], wish["code"])
    if "status" in wish:
        context.set_response_status(code=wish["status"], phrase="odd", idx=index)
        context.set_response_header(index, "x-odd", "yes")
    for number in range(wish.get("parts", 0)):
        part = [f"{wish.get('tag', '')}part {number}".encode() + b"." * wish.get("padding", 0)]
        send_intermediate_predict_response(part, context.request_ids, "part", 200, context)
        print(f"sent part {number}", flush=True)
        if wish.get("fail_after") == number:
            raise ValueError("no good")
    if "trace" in wish:
        trace = context.get_trace(index)
        place = [trace.trace_id, trace.span_id, trace.sampled, trace.tracestate] if trace else None
        return {"id": context.get_request_id(index), "trace": place}
    if "answer" in wish:
        return wish["answer"]
    if "size" in wish:
        return b"x" * wish["size"]
    inputs = [[name, type(value).__name__, bytes(value).hex()] for name, value in row.items()]
    return {"inputs": inputs, "headers": context.get_all_request_header(index)}


def handle(data, context):
    if data is None:
        return None
    return [answer(row, index, context) for index, row in enumerate(data)]
