"""Installing the wheel, using it, and taking it away again, with every Python on the machine."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from .conftest import Environment, interpreters, make_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SCRIPTS = ("tserve-archiver", "torch-model-archiver")
FOREIGN = "torch-model-archiver==0.12.0"
"""PyPI's own archiver, whose script has the name of our alias."""


def test_machine_has_several_pythons() -> None:
    found = [minor for minor in interpreters() if minor >= 10]
    if len(found) < 2:
        pytest.skip(f"only Python 3.{found[0]} is on this machine")


def test_extension_loads(installed: Environment) -> None:
    program = "import tserve_worker._native as native; print(native.__file__)"
    origin = Path(installed.run("python", "-c", program).stdout.strip())
    assert origin.name == "_native.abi3.so"
    assert installed.path in origin.parents


def test_dependencies_are_met(installed: Environment) -> None:
    installed.pip("check")
    installed.run("python", "-c", "import orjson, yaml")


def test_server_starts_without_python_around_it(installed: Environment) -> None:
    assert installed.run("tserve", "--help").returncode == 0
    assert installed.run("tserve", "--version").returncode == 0


@pytest.mark.parametrize("script", SCRIPTS)
def test_archiver_runs_under_both_names(
    installed: Environment, script: str, tmp_path: Path, wheel: Path
) -> None:
    handler = tmp_path / "h.py"
    handler.write_text("def handle(data, context):\n    return data\n")
    flags = ["--model-name", "a", "--version", "1.0", "--handler", handler]
    done = installed.run(script, *flags, "--export-path", tmp_path)
    assert (done.stdout, done.stderr) == ("", "")
    with zipfile.ZipFile(tmp_path / "a.mar") as mar:
        manifest = json.loads(mar.read("MAR-INF/MANIFEST.json"))
    assert manifest["archiverVersion"] == wheel.name.split("-")[1]
    assert f"usage: {script} " in installed.run(script, "--help").stdout


def test_archiver_starts_without_the_rest(installed: Environment) -> None:
    program = "import sys, archiver.cli; print({'tserve_worker', 'yaml'} & set(sys.modules))"
    assert installed.run("python", "-c", program).stdout == "set()\n"


def test_uninstall_leaves_nothing(empty: Environment, wheel: Path) -> None:
    before = empty.files()
    empty.pip("install", "--no-deps", wheel)
    empty.run("tserve-archiver", "--help")
    assert empty.files() - before >= {"bin/tserve", *(f"bin/{script}" for script in SCRIPTS)}
    empty.pip("uninstall", "--yes", "tserve")
    assert empty.files() == before
    for package in ("archiver", "tserve_worker", "ts"):
        assert not (empty.site_packages / package).exists()


def test_too_old_python_is_told_so(tmp_path: Path, wheel: Path) -> None:
    if 9 not in interpreters():
        pytest.skip("no Python 3.9 on this machine")
    environment = make_environment(interpreters()[9], tmp_path / "venv")
    done = environment.pip("install", "--no-deps", wheel, check=False)
    assert done.returncode != 0
    assert "not a supported wheel" in done.stderr + done.stdout


def test_last_installed_archiver_has_the_common_name(empty: Environment, wheel: Path) -> None:
    """Pins what the manual warns of: two distributions with one script do not go together."""
    done = empty.pip("download", "--no-deps", "--dest", empty.path, FOREIGN, check=False)
    if done.returncode:
        pytest.skip(f"{FOREIGN} cannot be downloaded: {done.stderr.strip().splitlines()[-1]}")
    (foreign,) = empty.path.glob("torch_model_archiver-*.whl")

    empty.pip("install", "--no-deps", wheel)
    assert _owner(empty) == "archiver"
    empty.pip("install", "--no-deps", foreign)
    assert _owner(empty) == "model_archiver"
    empty.pip("install", "--no-deps", "--force-reinstall", wheel)
    assert _owner(empty) == "archiver"

    empty.pip("uninstall", "--yes", "torch-model-archiver")
    assert not (empty.path / "bin/torch-model-archiver").exists()
    assert empty.run("tserve-archiver", "--help").returncode == 0
    empty.pip("install", "--no-deps", "--force-reinstall", wheel)
    assert _owner(empty) == "archiver"


def _owner(environment: Environment) -> str:
    """Name the package that ``torch-model-archiver`` runs now."""
    text = (environment.path / "bin/torch-model-archiver").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("from "))
    return line.split()[1].partition(".")[0]
