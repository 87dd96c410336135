"""What is in the wheel, and what it says about itself."""

from __future__ import annotations

import email
import re
import stat
import zipfile
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest

from .conftest import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def content(wheel: Path) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(wheel) as opened:
        yield opened


@pytest.fixture(scope="module")
def metadata(content: zipfile.ZipFile) -> Message:
    (name,) = (name for name in content.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(content.read(name))


def test_tag_is_the_stable_interface_of_python_3_10(wheel: Path) -> None:
    python, interface, platform = wheel.stem.split("-")[2:]
    assert (python, interface) == ("cp310", "abi3")
    assert "linux" in platform
    assert platform.endswith(("x86_64", "aarch64"))


def test_binary_extension_and_packages_are_in_it(content: zipfile.ZipFile) -> None:
    names = set(content.namelist())
    (binary,) = (name for name in names if name.endswith(".data/scripts/tserve"))
    assert content.read(binary)[:4] == b"\x7fELF"
    assert content.getinfo(binary).external_attr >> 16 & stat.S_IXUSR
    assert "tserve_worker/_native.abi3.so" in names
    packages = {name.partition("/")[0] for name in names if "." not in name.partition("/")[0]}
    assert packages >= {"archiver", "tserve_worker"}
    assert packages <= {"archiver", "tserve_worker", "ts"}
    for package in packages:
        assert f"{package}/py.typed" in names


def test_it_has_only_what_belongs_in_it(content: zipfile.ZipFile) -> None:
    endings = (".py", ".pyi", "py.typed", ".abi3.so", ".yaml", ".json", ".properties")
    for name in content.namelist():
        assert "__pycache__" not in name
        if ".dist-info/" not in name and ".data/" not in name:
            assert name.endswith(endings), name


def test_version_is_the_one_of_the_workspace(metadata: Message, wheel: Path) -> None:
    text = (REPOSITORY / "Cargo.toml").read_text()
    (version,) = re.findall(r'^\[workspace\.package\]\nversion = "(.*)"$', text, re.MULTILINE)
    assert metadata["Version"] == version
    assert wheel.name.startswith(f"tserve-{version}-")


def test_metadata(metadata: Message, content: zipfile.ZipFile) -> None:
    assert metadata["Name"] == "tserve"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["Description-Content-Type"].startswith("text/markdown")
    assert any(name.endswith("/licenses/LICENSE") for name in content.namelist())
    extras = {"torch", "vision", "explain", "onnx", "safetensors", "dev"}
    assert set(metadata.get_all("Provides-Extra") or []) == extras


def test_every_dependency_is_bounded(metadata: Message) -> None:
    requirements = metadata.get_all("Requires-Dist") or []
    needed = [text for text in requirements if "extra ==" not in text]
    assert {text.partition(">=")[0].lower() for text in needed} == {"orjson", "pyyaml"}
    for text in requirements:
        assert text.startswith("tserve[") or (">=" in text and ",<" in text), text
