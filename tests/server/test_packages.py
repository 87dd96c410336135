"""Requirements of archives: installed from local wheels, per model or in virtual environments."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from conftest import ServerFactory
from harness.processes import wait_until
from harness.server import Server

NAME = "tserve_test_package"


def build_wheel(folder: Path, version: str) -> None:
    """Writes a wheel with one module that knows its version."""
    folder.mkdir(exist_ok=True)
    info = f"{NAME}-{version}.dist-info"
    files = {
        f"{NAME}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(folder / f"{NAME}-{version}-py3-none-any.whl", "w") as wheel:
        for name, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(name, text)


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder with two versions of a package."""
    folder = tmp_path / "wheels"
    for version in ("1.0", "2.0"):
        build_wheel(folder, version)
    return folder


def archive(tmp_path: Path, name: str, wanted: str, **settings: object) -> dict[str, Any]:
    """An archive with a requirements file."""
    folder = tmp_path / f"files-{name}"
    folder.mkdir()
    (folder / "requirements.txt").write_text(f"{wanted}\n")
    return {
        "name": name,
        "handler": "packages.py",
        "settings": {"minWorkers": 1, **settings},
        "requirements_file": folder / "requirements.txt",
    }


def config(wheels: Path, **more: object) -> dict[str, object]:
    return {"install_py_dep_per_model": "true", "wheel_folder": wheels, **more}


def seen(server: Server, model: str) -> dict[str, str]:
    """What a worker of the model sees."""
    answer = server.predict(model)
    assert answer.status == 200, answer.text
    found: dict[str, str] = json.loads(answer.body)
    return found


def test_each_model_has_its_own_packages(
    start_server: ServerFactory, tmp_path: Path, wheels: Path
) -> None:
    server = start_server(
        archive(tmp_path, "old", f"{NAME}==1.0"),
        archive(tmp_path, "new", f"{NAME}==2.0"),
        config=config(wheels),
    )
    assert seen(server, "old")["version"] == "1.0"
    assert seen(server, "new")["version"] == "2.0"


def test_virtual_environments_are_shared_by_those_who_want_the_same(
    start_server: ServerFactory, tmp_path: Path, wheels: Path
) -> None:
    venvs = tmp_path / "venvs"
    server = start_server(
        archive(tmp_path, "old", f"{NAME}==1.0", useVenv="true", minWorkers=2),
        archive(tmp_path, "same", f"{NAME}==1.0", useVenv="true"),
        archive(tmp_path, "new", f"{NAME}", useVenv="true"),
        config=config(wheels, venv_folder=venvs),
        models=["old.mar", "same.mar"],
    )
    old, same = seen(server, "old"), seen(server, "same")
    assert old["version"] == "1.0"
    assert old == same
    assert old["prefix"].startswith(str(venvs))
    assert server.describe("old")["useVenv"] is True
    assert server.manage("POST", "/models?url=new.mar&initial_workers=1").status == 200
    new = seen(server, "new")
    assert new["version"] == "2.0"
    assert new["prefix"] != old["prefix"]
    made = sorted(venvs.glob("*/tserve-complete"))
    times = [file.stat().st_ctime_ns for file in made]
    assert len(made) == 2
    server.stop()
    # Without any wheels, the next start finds what it needs.
    for wheel in wheels.iterdir():
        wheel.unlink()
    server.models = ["old.mar", "new.mar"]
    server.start()
    assert seen(server, "old") == old
    assert seen(server, "new") == new
    assert len(times) == len(list(venvs.glob("*/tserve-complete")))


def test_virtual_environments_go_with_their_models(
    start_server: ServerFactory, tmp_path: Path, wheels: Path
) -> None:
    server = start_server(
        archive(tmp_path, "old", f"{NAME}==1.0", useVenv="true"), config=config(wheels)
    )
    prefix = Path(seen(server, "old")["prefix"])
    assert server.temporary in prefix.parents
    assert server.manage("DELETE", "/models/old").status == 200
    wait_until(lambda: not prefix.exists(), 10, "the environment is removed")


def test_a_package_that_cannot_be_had_is_named(
    start_server: ServerFactory, tmp_path: Path, wheels: Path
) -> None:
    server = start_server(
        archive(tmp_path, "plain", f"{NAME}==9.9"),
        archive(tmp_path, "venv", f"{NAME}==9.9", useVenv="true"),
        "noop",
        config=config(wheels),
        models=["plain.mar", "noop.mar"],
    )
    assert server.model_names() == ["noop"]
    known = "Custom pip package installation failed for model"
    reason = f"No matching distribution found for {NAME}==9.9"
    for name in ("plain", "venv"):
        refused = server.manage("POST", f"/models?url={name}.mar&initial_workers=1")
        assert (refused.status, refused.message()) == (400, f"{known} {name}: {reason}")
        assert server.model_names() == ["noop"]
    assert reason in server.get("/readyz").text
    assert "Looking in links" in server.log(100_000)
