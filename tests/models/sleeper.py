"""Sleeps for as many seconds as the body says."""

import time


def handle(data, context):
    if data is None:
        return None
    for row in data:
        time.sleep(float(bytes(row["body"]) or 0))
    return ["slept"] * len(data)
