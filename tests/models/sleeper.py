"""Sleeps for as many seconds as the body says."""

import time


def handle(data, context):
    if data is None:
        return None
    for row in data:
        seconds = float(bytes(row["body"]) or 0)
        print(f"sleeping {seconds}", flush=True)
        time.sleep(seconds)
    return ["slept"] * len(data)
