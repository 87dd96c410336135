"""Continuous batching: every call adds one piece to each live request, as its JSON body asks.

Keys: word, n (pieces), pause (seconds per round), gate (a file to wait for before the second
round), size (of a piece), die_at, fail_at (piece), whole (answered at once, without a stream),
report (a file that gets the requests of each round).
"""

import os
import signal
import time


class Rounds:
    def __init__(self):
        self.initialized = False

    def initialize(self, context):
        context.cache = {}
        self.initialized = True

    def handle(self, data, context):
        cache = context.cache
        live = set(context.request_ids.values())
        for gone in set(cache) - live:
            del cache[gone]
        pieces, criteria, words = [], [], []
        for index, row in enumerate(data):
            request_id = context.get_request_id(index)
            if request_id not in cache:
                cache[request_id] = {**row["body"], "made": 0}
            else:
                assert row == {}, row
            state = cache[request_id]
            words.append(state["word"])
            if state["made"] == 1 and "gate" in state:
                deadline = time.monotonic() + 30
                while not os.path.exists(state["gate"]) and time.monotonic() < deadline:
                    time.sleep(0.005)
            if state["made"] == state.get("die_at"):
                os.kill(os.getpid(), signal.SIGKILL)
            if state["made"] == state.get("fail_at"):
                raise ValueError("as asked")
            state["made"] += 1
            piece = f"{state['word']}{state['made']} "
            pieces.append(piece.ljust(state.get("size", 0), "."))
            criteria.append(self.criterion(state))
        for state in list(cache.values()):
            time.sleep(state.get("pause", 0))
            if "report" in state:
                with open(state["report"], "a") as file:
                    file.write(" ".join(words) + "\n")
        context.stopping_criteria = criteria
        return pieces

    def criterion(self, state):
        if state.get("whole"):
            return None
        return lambda piece: state["made"] >= state.get("n", 1)
