"""The repository, and cargo to ask about it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def dependencies() -> Callable[[str], set[str]]:
    """Name every crate below a crate of the workspace, tests and benches not counted."""
    cargo = shutil.which("cargo")
    if cargo is None:
        pytest.skip("the dependency rules are read with cargo, which is not on PATH")

    def crates_below(package: str) -> set[str]:
        which = ["--locked", "--edges", "normal,build", "--target", "all"]
        look = ["--prefix", "none", "--format", "{p}"]
        done = subprocess.run(
            [cargo, "tree", "--package", package, *which, *look],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        names = [line.split()[0] for line in done.stdout.splitlines() if line]
        assert names[0] == package
        return set(names[1:])

    return crates_below
