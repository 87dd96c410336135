"""One wheel, built once, and fresh virtual environments of every Python on the machine."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
OLDEST, NEWEST = 9, 15
"""Minor versions of Python 3 to look for; 3.9 is too old on purpose."""

PROBE = (
    "import ensurepip, json, sys, venv; print(json.dumps([sys.executable, sys.version_info[1]]))"
)


@dataclass(frozen=True)
class Environment:
    """A virtual environment; ``run`` runs one of its scripts with nothing of ours around it."""

    path: Path

    @property
    def site_packages(self) -> Path:
        (found,) = self.path.glob("lib/python3.*/site-packages")
        return found

    def run(
        self, script: str, *arguments: str | Path, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run ``bin/<script>`` of the environment, and show its output when it fails."""
        done = subprocess.run(
            [self.path / "bin" / script, *arguments],
            cwd=self.path,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if check and done.returncode:
            pytest.fail(f"{done.args} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def pip(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("python", "-m", "pip", "--no-input", *arguments, check=check)

    def files(self) -> set[str]:
        """Name all files but caches."""
        return {
            str(file.relative_to(self.path))
            for file in self.path.rglob("*")
            if "__pycache__" not in file.parts
        }


def clean_environment() -> dict[str, str]:
    """Return the environment without what would let a test see the source tree."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "VIRTUAL_ENV", "PIP_REQUIRE", "TSERVE_"))
    }


@cache
def interpreters() -> dict[int, str]:
    """Find one interpreter of each minor version: this one, those on PATH, those of pyenv."""
    found = {sys.version_info.minor: getattr(sys, "_base_executable", sys.executable)}
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    for minor in range(OLDEST, NEWEST):
        candidates = [shutil.which(f"python3.{minor}")]
        candidates += map(str, sorted(pyenv.glob(f"3.{minor}.*/bin/python3")))
        for candidate in filter(None, candidates):
            # A shim of pyenv is on PATH also for versions that it then refuses to run.
            done = subprocess.run(
                [candidate, "-c", PROBE], capture_output=True, text=True, check=False, timeout=30
            )
            if minor not in found and done.returncode == 0:
                executable, actual = json.loads(done.stdout)
                if actual == minor:
                    found[minor] = executable
    return found


def make_environment(interpreter: str, path: Path) -> Environment:
    subprocess.run([interpreter, "-m", "venv", path], check=True, timeout=120)
    return Environment(path)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests of ``installed`` once for every Python that the wheel is for."""
    if "installed" in metafunc.fixturenames:
        minors = [minor for minor in sorted(interpreters()) if minor >= 10]
        ids = [f"3.{minor}" for minor in minors]
        metafunc.parametrize("installed", minors, ids=ids, indirect=True, scope="session")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Take the wheel that TSERVE_WHEEL names, or build one, without optimisation."""
    given = os.environ.get("TSERVE_WHEEL")
    if given:
        return Path(given).resolve()
    directory = tmp_path_factory.mktemp("wheel")
    build("wheel", ".", "--no-deps", "--wheel-dir", str(directory))
    (built,) = directory.glob("tserve-*.whl")
    return built


def build(*arguments: str) -> None:
    """Run pip in the repository; where maturin is installed, without downloading it again."""
    isolation = ["--no-build-isolation"] if importlib.util.find_spec("maturin") else []
    scripts = os.path.dirname(sys.executable)
    done = subprocess.run(
        [sys.executable, "-m", "pip", *arguments, *isolation],
        cwd=REPOSITORY,
        env={
            "TSERVE_BUILD_PROFILE": "dev",
            **os.environ,
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        timeout=1700,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def installed(
    request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Environment]:
    """A fresh environment with the wheel and its dependencies in it."""
    minor: int = request.param
    path = tmp_path_factory.mktemp(f"python3.{minor}")
    environment = make_environment(interpreters()[minor], path / "venv")
    environment.pip("install", wheel)
    yield environment
    shutil.rmtree(path)


@pytest.fixture
def empty(tmp_path: Path) -> Environment:
    """A fresh environment with nothing in it."""
    return make_environment(interpreters()[sys.version_info.minor], tmp_path / "venv")
