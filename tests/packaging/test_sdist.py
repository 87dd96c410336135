"""The source distribution holds what a build needs, and nothing that was built."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from .conftest import REPOSITORY

HOOK = "import sys; sys.path.insert(0, 'tools/build_backend'); import tserve_build; "


@pytest.mark.slow
def test_source_distribution_is_complete(tmp_path: Path) -> None:
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("a source distribution is made of what git tracks, and this is no checkout")
    pytest.importorskip("maturin")
    scripts = os.path.dirname(sys.executable)
    done = subprocess.run(
        [sys.executable, "-c", HOOK + f"print(tserve_build.build_sdist({str(tmp_path)!r}))"],
        cwd=REPOSITORY,
        env={**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (archive,) = tmp_path.glob("tserve-*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert names >= {
        *("Cargo.toml", "Cargo.lock", "pyproject.toml", "LICENSE", "README.md"),
        *("crates/frontend/Cargo.toml", "crates/batcher/Cargo.toml", "crates/shm/Cargo.toml"),
        *("crates/pyext/Cargo.toml", "crates/frontend/src/main.rs"),
        *("python/archiver/cli.py", "tools/build_backend/tserve_build.py"),
    }
    for name in names:
        assert not name.startswith("target/")
        assert not name.endswith((".so", ".pyc"))
