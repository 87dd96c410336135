"""Memory of processes, for collectors of one's own: ``ts.metrics.process_memory_metric``."""

from __future__ import annotations

import logging
import os
from typing import IO

logger = logging.getLogger(__name__)


def get_cpu_usage(pid: int | str) -> int:
    """Return the resident memory of a process in bytes; 0, with an error, when there is none."""
    try:
        with open(f"/proc/{int(pid)}/statm", encoding="ascii") as file:
            pages = int(file.read().split()[1])
    except (OSError, ValueError):
        logger.error("Failed get process for pid: %s", pid, exc_info=True)
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def check_process_mem_usage(stdin: IO[str]) -> None:
    """Log ``pid:bytes`` for every process of a line of process ids.

    Args:
        stdin: its first line has the ids, separated by commas.
    """
    for pid in stdin.readline().strip().split(","):
        if pid:
            logging.info("%s:%d", pid, get_cpu_usage(pid))
