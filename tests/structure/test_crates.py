"""Which crate may depend on which (DESIGN: crates, packages, arrows)."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Dependencies = Callable[[str], set[str]]

MAY_USE = {
    "tserve-api": set[str](),
    "tserve-batcher": set[str](),
    "tserve-shm": set[str](),
    "tserve-pyext": {"tserve-shm"},
    "tserve-frontend": {"tserve-api", "tserve-batcher", "tserve-shm"},
}
"""Workspace crates that the product is made of; what is not listed may not be used by them."""


@pytest.mark.parametrize("package", sorted(MAY_USE))
def test_crate_uses_only_what_the_arrows_allow(
    package: str, repository: Path, dependencies: Dependencies
) -> None:
    if not (repository / "crates" / package.removeprefix("tserve-")).exists():
        pytest.skip(f"{package} is not written yet")
    ours = {name for name in dependencies(package) if name.startswith("tserve-")}
    assert ours <= MAY_USE[package]


def test_python_is_never_in_the_server(dependencies: Dependencies) -> None:
    assert not {name for name in dependencies("tserve-frontend") if name.startswith("pyo3")}


@pytest.mark.parametrize("package", ["tserve-batcher", "tserve-shm"])
def test_queue_and_transport_know_no_runtime_socket_or_interpreter(
    package: str, dependencies: Dependencies
) -> None:
    foreign = re.compile(r"(tokio|hyper|http|axum|tonic|reqwest|mio|pyo3)(-.*)?")
    assert not {name for name in dependencies(package) if foreign.fullmatch(name)}


def test_worker_extension_never_sees_sockets(dependencies: Dependencies) -> None:
    assert not dependencies("tserve-pyext") & {"tokio", "hyper", "reqwest", "rustls"}


def test_deny_file_bans_python_outside_the_extension(repository: Path) -> None:
    text = (repository / "deny.toml").read_text()
    assert '{ name = "pyo3", wrappers = ["tserve-pyext"] }' in text


def test_cargo_deny_agrees(repository: Path) -> None:
    if shutil.which("cargo-deny") is None:
        pytest.skip("cargo-deny is not on PATH")
    done = subprocess.run(
        ["cargo", "deny", "--locked", "check", "bans", "licenses", "sources"],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
