"""`benches/run.py` as `make bench` calls it, with the binaries under test."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.server import ROOT, tserve_binary

Measure = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def loadgen() -> Path:
    """The load generator, development profile, up to date."""
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    if shutil.which("cargo") is None:
        pytest.skip("the load generator is built with cargo, which is not on PATH")
    words = ["cargo", "build", "--quiet", "--locked", "--package", "tserve-loadgen"]
    subprocess.run(words, cwd=ROOT, check=True, timeout=110)
    return target / "debug" / "tserve-loadgen"


@pytest.fixture
def measure(loadgen: Path, tmp_path: Path) -> Measure:
    """Runs one command of `benches/run.py`; returns what it wrote, the page as `report`."""

    def run(command: str, *more: str) -> dict[str, Any]:
        out = tmp_path / "results.json"
        words = [
            *(sys.executable, str(ROOT / "benches" / "run.py"), command),
            *("--tserve", str(tserve_binary()), "--loadgen", str(loadgen), "--out", str(out)),
            *("--work", str(tmp_path / "work"), "--environments", str(tmp_path / "none")),
            *("--reference", str(tmp_path / "none"), "--warm-up", "0.1", "--no-picture"),
            *more,
        ]
        done = subprocess.run(words, check=False, timeout=100, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        results: dict[str, Any] = json.loads(out.read_text())
        results["report"] = out.with_suffix(".md").read_text()
        results["output"] = done.stdout
        return results

    return run
