"""Does to its own process what the JSON body asks."""

import ctypes
import os
import re
import signal
import sys
import time


def shared_mappings():
    """(start, length, writable) of the shared-memory segments of this process."""
    found = []
    with open("/proc/self/maps") as maps:
        for line in maps:
            if "memfd:" in line:
                start, end, flags = re.match(r"(\w+)-(\w+) (\S+)", line).groups()
                found.append((int(start, 16), int(end, 16) - int(start, 16), "w" in flags))
    return found


def scribble(pattern):
    for start, length, writable in shared_mappings():
        if writable:
            # The first megabyte holds every index, flag and length that the server reads.
            ctypes.memset(start, pattern, min(length, 1 << 20))


def handle(data, context):
    if data is None:
        return None
    wish = data[0]["body"]
    kind = wish["kind"]
    time.sleep(wish.get("delay", 0))
    if kind == "exit":
        sys.exit(wish.get("code", 0))
    if kind == "hard exit":
        os._exit(wish.get("code", 1))
    if kind == "signal":
        os.kill(os.getpid(), signal.Signals[wish["name"]])
        time.sleep(10)
    if kind == "hang":
        time.sleep(3600)
    if kind == "hang in native code":
        ctypes.PyDLL(None).sleep(3600)  # holds the interpreter lock
    if kind == "print":
        line = "x" * 65535 + "\n"
        for _ in range(wish["megabytes"] * 16):
            sys.stdout.write(line)
        sys.stdout.flush()
    if kind == "print without newline":
        sys.stdout.write("y" * (wish["megabytes"] << 20))
        sys.stdout.flush()
    if kind == "binary output":
        os.write(1, bytes(range(256)) * 64)
        os.write(2, b"\xff\xfe\n" * 64)
    if kind == "close output":
        os.close(1)
        os.close(2)
    if kind == "close descriptors":
        os.closerange(3, 256)
    if kind == "scribble":
        scribble(wish["pattern"])
    if kind == "fork" and os.fork() == 0:
        time.sleep(3600)
        os._exit(0)
    if kind == "mappings":
        return [[writable for _, _, writable in shared_mappings()]] * len(data)
    if kind == "pid":
        return [os.getpid()] * len(data)
    return ["still here"] * len(data)
