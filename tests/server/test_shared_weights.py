"""Workers of one model share the pages of its weights."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.processes import wait_until
from harness.server import Server

pytest.importorskip("torch")

WEIGHTS_KIB = 128 * 1024

MODEL = """
import torch


class Large(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(WIDTH, 8192))

    def forward(self, x):
        return self.weight.sum(dim=0)[:2] + x
"""

HANDLER = """
import torch
from ts.torch_handler.base_handler import BaseHandler


class LargeHandler(BaseHandler):
    def preprocess(self, data):
        return torch.zeros(len(data), 2)
"""


def share(pid: int) -> int:
    """A process's memory in KiB, of shared pages only its part."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    (found,) = re.findall(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(found)


def test_two_workers_need_the_weights_once(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    import torch

    width = WEIGHTS_KIB * 1024 // 4 // 8192
    torch.save({"weight": torch.ones(width, 8192)}, tmp_path / "large.pth")
    (tmp_path / "large.py").write_text(MODEL.replace("WIDTH", str(width)))
    (tmp_path / "handler.py").write_text(HANDLER)
    server = start_server(
        {
            "name": "large",
            "handler": str(tmp_path / "handler.py"),
            "model_file": tmp_path / "large.py",
            "serialized_file": tmp_path / "large.pth",
        }
    )
    assert server.predict("large").json() == [width, width]
    (first,) = server.worker_pids("large")
    alone = share(first)
    answer = server.manage("PUT", "/models/large?min_worker=2&synchronous=true")
    assert answer.status == 200
    wait_until(lambda: len(server.worker_pids("large")) == 2, 30, "two workers")
    # Both answer, so that both have touched every page.
    for _ in range(20):
        assert server.predict("large").json() == [width, width]
    both = sum(share(pid) for pid in server.worker_pids("large"))
    assert alone > WEIGHTS_KIB, "the weights are in memory"
    # Without sharing, the second worker would add all of them.
    assert both < 2 * alone - WEIGHTS_KIB * 3 // 4, f"{alone} KiB alone, {both} KiB both"
