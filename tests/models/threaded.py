"""Starts a thread when it is imported, as some libraries do: it cannot be forked."""

import threading

threading.Thread(target=threading.Event().wait, name="busybody", daemon=True).start()


def handle(data, context):
    return data and ["ok"] * len(data)
