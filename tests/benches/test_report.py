"""The report of recorded results: figures, verdicts, picture."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from harness.server import ROOT

RECORDED = Path(__file__).with_name("recorded.json")
RUN = ROOT / "benches" / "run.py"


def report(file: Path, *more: str) -> tuple[int, str]:
    """The exit status and the page."""
    words = [sys.executable, str(RUN), "report", "--out", str(file), *more]
    done = subprocess.run(words, check=False, timeout=100, capture_output=True, text=True)
    assert not done.stderr, done.stderr
    return done.returncode, file.with_suffix(".md").read_text()


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The recorded results, to be written to."""
    return Path(shutil.copy(RECORDED, tmp_path / "results.json"))


def rows(page: str, beginning: str) -> list[list[str]]:
    """The cells of the table rows that begin so."""
    lines = [line for line in page.splitlines() if line.startswith(f"| {beginning}")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_target_has_a_verdict(results: Path) -> None:
    _, page = report(results, "--no-picture")
    verdicts = {
        (target, aim): verdict
        for line in page.partition("## Targets")[2].partition("\n## ")[0].splitlines()[4:]
        for target, aim, _, verdict in [[cell.strip() for cell in line.strip("|").split("|")]]
    }
    assert len(verdicts) >= 16
    assert set(verdicts.values()) <= {"PASS", "FAIL"}
    # From the record: 30,000/s of ours and 10,000/s of mosec's, and so on.
    assert verdicts["noop, 64 connections", "throughput at least 3 times mosec"] == "PASS"
    assert verdicts["mlp, 64 connections", "throughput at least 1.2 times triton"] == "FAIL"
    assert verdicts["noop, 1 connection", "p50 at most 1.6 times the HTTP floor's"] == "PASS"
    assert verdicts["models loaded and idle", "server grows each by under 200 KiB"] == "FAIL"


def test_figures_are_medians_and_ratios_are_of_the_same_round(results: Path) -> None:
    _, page = report(results, "--no-picture")
    mosec = next(row for row in rows(page, "mosec") if row[1].startswith("1"))
    # Rounds of 30,000, 33,000 and 36,000 against 10,000, 11,000 and 12,000.
    assert mosec[1:3] == ["11,000", "10,000-12,000"]
    assert mosec[6] == "3.00x"


def test_disturbed_rounds_do_not_count_where_there_are_others(results: Path) -> None:
    data: dict[str, Any] = json.loads(results.read_text())
    for cell in list(data["cells"]):
        disturbed = copy.deepcopy(cell)
        disturbed.update(round=9, rps=1.0, other_cores=1.5)
        data["cells"].append(disturbed)
    _, before = report(results, "--no-picture")
    results.write_text(json.dumps(data))
    _, after = report(results, "--no-picture")
    assert after == before


def test_a_backlog_does_not_pass_for_an_even_latency(results: Path) -> None:
    data: dict[str, Any] = json.loads(results.read_text())
    assert rows(report(results, "--no-picture")[1], "open loop, noop")[0][3] == "PASS"
    data["open"][0].update(waited=2_000_000, p50_us=900_000.0, p99_us=1_000_000.0)
    results.write_text(json.dumps(data))
    (row,) = rows(report(results, "--no-picture")[1], "open loop, noop")
    assert row[2].endswith("32 % found no connection")
    assert row[3] == "FAIL"


def test_strict_fails_when_a_target_is_missed(results: Path) -> None:
    assert report(results, "--no-picture", "--strict")[0] == 1
    assert report(results, "--no-picture")[0] == 0


def test_the_picture_is_drawn(results: Path) -> None:
    pytest.importorskip("matplotlib")
    report(results)
    picture = results.with_suffix(".png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000
