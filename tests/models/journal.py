"""Writes into the file that `JOURNAL` names when it begins and ends each request.

The body is `NUMBER SECONDS`: who asks, and how long the answer takes. The answer is the body.
"""

import os
import time


def note(word, number):
    line = f"{word} {number.decode()} {time.monotonic()}\n".encode()
    file = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line)
    os.close(file)


def handle(data, context):
    if data is None:
        return None
    for row in data:
        number, seconds = bytes(row["body"]).split()
        note("begin", number)
        time.sleep(float(seconds))
        note("end", number)
    return [bytes(row["body"]) for row in data]
