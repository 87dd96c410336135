"""A small project to pack, our archiver as a process, and the original beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import archiver

REPOSITORY = Path(__file__).resolve().parents[2]
HANDLER = "def handle(data, context):\n    return [b'from h' for _ in data] if data else None\n"
PROJECT = {
    "src/h.py": HANDLER,
    "src/m.py": "class Net:\n    pass\n",
    "w.pth": "weights",
    "reqs.txt": "numpy\n",
    "cfg.yaml": "batchSize: 2\n",
    "extra.txt": "x",
    "one.json": "{}",
    "two.json": "{}",
    "d/in.txt": "1",
    "d/.hidden-file": "h",
    "d/cached.pyc": "c",
    "d/sub/deep.txt": "2",
    "d/sub/deeper/still.txt": "3",
    "d/sub/__pycache__/x.pyc": "no",
    "d/__pycache__/x.pyc": "no",
    "d/__MACOSX/x": "no",
    "d/.git/config": "no",
    "d/sub/.cache/x": "no",
}

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True)
class Archive:
    """What lies in an archive of any format: names, contents and the parsed manifest."""

    files: dict[str, bytes]
    manifest: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Archive:
        if path.is_dir():
            files = {
                str(file.relative_to(path)): file.read_bytes()
                for file in path.rglob("*")
                if file.is_file()
            }
        elif path.suffix == ".gz":
            with tarfile.open(path) as tar:
                files = {
                    member.name: data.read()
                    for member in tar.getmembers()
                    if (data := tar.extractfile(member)) is not None
                }
        else:
            with zipfile.ZipFile(path) as mar:
                assert len(set(mar.namelist())) == len(mar.namelist())
                files = {name: mar.read(name) for name in mar.namelist()}
        (name,) = (name for name in files if name.endswith("MAR-INF/MANIFEST.json"))
        return cls(files, json.loads(files.pop(name)))


@pytest.fixture
def read_archive() -> Callable[[Path], Archive]:
    return Archive.read


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with everything that can go into an archive; it is the current directory."""
    root = tmp_path / "project"
    for name, text in PROJECT.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.chdir(root)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    return root


@pytest.fixture
def run(project: Path) -> Run:
    """Run our command line in the project, as ``run("--model-name", "a", ...)``."""
    source = os.path.dirname(os.path.dirname(archiver.__file__))

    def run_archiver(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "archiver", *arguments],
            cwd=project,
            env={**os.environ, "PYTHONPATH": source, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run_archiver


@pytest.fixture
def pack(run: Run) -> Run:
    """Run our command line with name and version given, as ``pack("--handler", "src/h.py")``."""

    def pack_model(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return run("--model-name", "a", "--version", "1.0", *arguments, **environment)

    return pack_model


@pytest.fixture(scope="session")
def reference_bin() -> Path:
    """The directory of the original's scripts; skips where they are not installed."""
    default = REPOSITORY / ".venv-reference"
    scripts = Path(os.environ.get("TSERVE_REFERENCE_VENV", default)) / "bin"
    if not (scripts / "torch-model-archiver").exists():
        pytest.skip(
            f"no torch-model-archiver in {scripts}: install tests/compat/requirements.txt into "
            "a virtual environment and name it in TSERVE_REFERENCE_VENV"
        )
    return scripts
