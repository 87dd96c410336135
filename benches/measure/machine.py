"""Facts about the machine, and how busy it is."""

from __future__ import annotations

import json
import os
import platform
import socket
import statistics
import time
from contextlib import ExitStack
from pathlib import Path

WINDOW_SECONDS = 0.2
TICKS = os.sysconf("SC_CLK_TCK")


def facts() -> dict[str, object]:
    """What a reader needs to judge the figures."""
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "cpu": _cpu_name(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "architecture": platform.machine(),
    }


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def busy_seconds() -> float:
    """CPU time that anyone has used on this machine since it booted."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    user, nice, system, _idle, _waiting, irq, soft_irq, steal = map(int, fields)
    return (user + nice + system + irq + soft_irq + steal) / TICKS


def unsteady(seconds: float) -> float:
    """How often the machine is slow without being asked for much.

    One and the same computation runs alone. Returns the share of the windows in which it took over
    a fifth longer than in the median window: what no server here can do anything about.
    """
    text = json.dumps([number / 784 for number in range(784)])
    rates = []
    end = time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        done = 0
        while time.perf_counter() - begin < WINDOW_SECONDS:
            json.loads(text)
            done += 1
        rates.append(done / (time.perf_counter() - begin))
    usual = statistics.median(rates)
    return sum(rate < usual / 1.2 for rate in rates) / len(rates)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody uses at this moment."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in listeners]
