"""The command line as a process: exit statuses, messages, silence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import archiver

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Read = Callable[[Path], Any]


def test_success_is_silent(pack: Run, project: Path) -> None:
    done = pack("--handler", "src/h.py")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (project / "a.mar").is_file()


def test_every_flag(run: Run, project: Path, read_archive: Read) -> None:
    (project / "store").mkdir()
    done = run(
        *("--model-name", "m-1.x_y", "-v", "2.0", "--handler", "src/h.py:handle"),
        *("--model-file", "src/m.py", "--serialized-file", "w.pth"),
        *("--extra-files", "extra.txt,*.json,d", "--runtime", "python3"),
        *("--export-path", "store", "--archive-format", "tgz", "-f"),
        *("-r", "reqs.txt", "-c", "cfg.yaml"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    archive = read_archive(project / "store/m-1.x_y.tar.gz")
    assert archive.manifest["runtime"] == "python3"
    assert archive.manifest["model"] == {
        "modelName": "m-1.x_y",
        "serializedFile": "w.pth",
        "handler": "h.py:handle",
        "modelFile": "m.py",
        "modelVersion": "2.0",
        "requirementsFile": "reqs.txt",
        "configFile": "cfg.yaml",
    }
    assert {name.removeprefix("m-1.x_y/") for name in archive.files} >= {
        *("h.py", "m.py", "w.pth", "reqs.txt", "cfg.yaml", "extra.txt", "one.json", "two.json"),
        *("in.txt", "sub/deep.txt"),
    }


@pytest.mark.parametrize("missing", ["--model-name", "--version", "--handler"])
def test_missing_required_flag_is_a_usage_error(run: Run, missing: str) -> None:
    flags = {"--model-name": "a", "--version": "1", "--handler": "src/h.py"}
    done = run(
        *(word for flag, value in flags.items() if flag != missing for word in (flag, value))
    )
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")
    assert missing in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "arguments", [["--runtime", "java"], ["--archive-format", "rar"], ["--what"], ["stray"]]
)
def test_wrong_flag_is_a_usage_error(pack: Run, arguments: list[str]) -> None:
    assert pack("--handler", "src/h.py", *arguments).returncode == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--handler", "absent.py"],
            "ERROR - File does not exist: absent.py (from --handler)\n",
        ),
        (
            ["--handler", "src/h.py", "--extra-files", "d,gone.txt"],
            "ERROR - File does not exist: gone.txt (from --extra-files)\n",
        ),
        (
            ["--handler", "src/h.py", "--export-path", "missing"],
            "ERROR - Given export-path missing is not a directory. "
            "Point to a valid export-path directory.\n",
        ),
        (
            ["--handler", "src/h.py", "--model-name", "a b"],
            "ERROR - Model name contains special characters.\n"
            "Allowed is: ^[A-Za-z0-9][A-Za-z0-9_\\-.]*$\n",
        ),
    ],
)
def test_failure_is_one_message_and_writes_nothing(
    pack: Run, project: Path, arguments: list[str], message: str
) -> None:
    before = sorted(project.rglob("*"))
    done = pack(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", message)
    assert sorted(project.rglob("*")) == before


def test_existing_archive_needs_force(pack: Run, project: Path) -> None:
    (project / "a.mar").write_text("theirs")
    done = pack("--handler", "src/h.py")
    target = project / "a.mar"
    hint = "Use --force/-f to overwrite it."
    assert (done.returncode, done.stderr) == (1, f"ERROR - {target} already exists. {hint}\n")
    assert target.read_text() == "theirs"
    done = pack("--handler", "src/h.py", "--force")
    assert (done.returncode, done.stderr) == (0, f"WARNING - Overwriting {target} ...\n")


def test_pattern_without_a_match_is_a_warning(pack: Run, project: Path) -> None:
    done = pack("--handler", "src/h.py", "--extra-files", "*.none")
    warning = "WARNING - Given wildcard pattern did not match any file: *.none\n"
    assert (done.returncode, done.stderr) == (0, warning)


def test_help_names_every_flag_and_built_in_handler(run: Run) -> None:
    done = run("--help")
    assert done.returncode == 0
    for word in (
        *("--model-name", "--version", "-v", "--handler", "--serialized-file", "--model-file"),
        *("--extra-files", "--runtime", "--export-path", "--archive-format", "--force", "-f"),
        *("--requirements-file", "-r", "--config-file", "-c", "image_classifier", "zip-store"),
    ):
        assert word in done.stdout


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_ends_it_without_leaving_a_part(
    project: Path, number: signal.Signals, status: int
) -> None:
    with open("big.pt", "wb") as weights:
        weights.truncate(8 << 30)
    source = os.path.dirname(os.path.dirname(archiver.__file__))
    arguments = ["--model-name", "a", "--version", "1", "--handler", "src/h.py"]
    process = subprocess.Popen(
        [sys.executable, "-m", "archiver", *arguments, "--serialized-file", "big.pt"],
        env={**os.environ, "PYTHONPATH": source},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while not list(project.glob(".a.mar.*.partial")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == status
    assert "Traceback" not in stderr
    assert not list(project.glob(".a.mar.*"))
    assert not (project / "a.mar").exists()
