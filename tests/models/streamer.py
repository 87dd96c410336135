"""Answers in parts as each request's JSON asks, and reports to a file how far it came.

Keys: tag, n (parts), size (of a part), pause (seconds after a part), gate (a file to wait for after
the first part), fail_at, die_at, code_at (part at which it raises, kills itself, sends a failure),
type, status, json, last, last_size, stubborn (goes on when its client is gone), report (a file).
"""

import os
import signal
import time

from ts.handler_utils.utils import send_intermediate_predict_response


def part_of(spec, number):
    if spec.get("json"):
        return {"tag": spec.get("tag"), "part": number}
    text = f"{spec.get('tag', '')}:{number};"
    return text.ljust(spec.get("size", 0), ".")


def report(specs, text):
    for spec in specs:
        if "report" in spec:
            beside = f"{spec['report']}.new"
            with open(beside, "w") as file:
                file.write(text)
            os.replace(beside, spec["report"])


def wait_for(gate):
    deadline = time.monotonic() + 60
    while not os.path.exists(gate) and time.monotonic() < deadline:
        time.sleep(0.005)


def handle(data, context):
    if data is None:
        return None
    specs = [row.get("body") or {} for row in data]
    for index, spec in enumerate(specs):
        if "type" in spec:
            context.set_response_content_type(index, spec["type"])
        if "status" in spec:
            context.set_response_status(spec["status"], idx=index)
    number = 0
    try:
        while wanted := {i: s for i, s in enumerate(specs) if s.get("n", 3) > number}:
            for spec in wanted.values():
                if spec.get("fail_at") == number:
                    raise ValueError("stream broke")
                if spec.get("die_at") == number:
                    os.kill(os.getpid(), signal.SIGKILL)
            codes = [200, *(507 for s in wanted.values() if s.get("code_at") == number)]
            ids = {index: context.request_ids[index] for index in wanted}
            parts = {index: part_of(spec, number) for index, spec in wanted.items()}
            try:
                send_intermediate_predict_response(parts, ids, "as asked", codes[-1], context)
            except ConnectionError as error:
                report(specs, f"{type(error).__name__} {number}")
                if not any(spec.get("stubborn") for spec in specs):
                    raise
            else:
                report(specs, f"sent {number + 1}")
            for spec in wanted.values():
                if "gate" in spec and number == 0:
                    wait_for(spec["gate"])
                time.sleep(spec.get("pause", 0))
            number += 1
    finally:
        report([spec for spec in specs if spec.get("tell_end")], f"over after {number}")
    return [spec.get("last", "end").ljust(spec.get("last_size", 0), ".") for spec in specs]
