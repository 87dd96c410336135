"""Rules about what a source file may mention, for which the compiler has no switch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

LEAVES = {"config", "error", "telemetry"}
MAY_USE = {
    "http": {"ingress", "service"},
    "grpc": {"ingress", "service"},
    "ingress": set[str](),
    "service": {"dispatch", "model", "worker"},
    "dispatch": {"model", "service", "worker"},
    "worker": {"dispatch", "model"},
    "model": set[str](),
    "config": set[str](),
    "error": set[str](),
    "telemetry": set[str](),
}
"""Modules of the server and what each may use besides itself and the leaves.

The others (``main``, ``lib``, ``cli``, ``launch``) tie these together and may use all.
"""

EXTERNAL = {
    "http": "tserve_(shm|batcher|api)",
    "grpc": "tserve_(shm|batcher)",
    "ingress": "tserve_(shm|batcher|api)|hyper|axum|tonic",
    "model": "tserve_(shm|batcher|api)|hyper|axum|tonic",
    "config": "tserve_(shm|batcher|api)|hyper|axum|tonic",
    "error": "tserve_(shm|batcher|api)|hyper|axum",
    "service": "tserve_api|hyper|axum|tonic",
    "dispatch": "tserve_api|hyper|axum|tonic",
    "worker": "tserve_api|hyper|axum|tonic",
}
"""Crates that a module may not name: adapters hold no transport, the rest knows no protocol."""


def sources(directory: Path) -> Iterator[tuple[str, str]]:
    """Yield (path below ``directory``, text without comments and tests) of all Rust files."""
    for file in sorted(directory.rglob("*.rs")):
        name = file.relative_to(directory).as_posix()
        if file.name != "tests.rs" and "tests" not in file.relative_to(directory).parts:
            text = re.sub(r"//.*", "", file.read_text())
            yield name, re.split(r"#\[cfg\((?:all\()?test\b[^\n]*\]\s*(?:pub )?mod \w+ \{", text)[0]


def module_sources(repository: Path, module: str) -> dict[str, str]:
    directory = repository / "crates/frontend/src"
    return {
        name: text
        for name, text in sources(directory)
        if name == f"{module}.rs" or name.startswith(f"{module}/")
    }


def used_modules(text: str) -> set[str]:
    """Name the modules of the crate that a text uses, by path or in a group of ``use``."""
    names = set(re.findall(r"\bcrate::([a-z_]+)\b(?!!)", text))
    for start in re.finditer(r"\bcrate::\{", text):
        depth, first = 1, True
        for token in re.finditer(r"[{},]|[A-Za-z_]+", text[start.end() :]):
            word = token.group()
            if word == "{":
                depth += 1
            elif word == "}":
                depth -= 1
                if depth == 0:
                    break
            elif word == ",":
                first = first or depth == 1
            elif depth == 1 and first:
                names.add(word)
                first = False
    return names & (set(MAY_USE) | {"cli", "launch"})


def test_groups_and_paths_are_understood() -> None:
    text = "use crate::{error::{Code, Error}, http, model::registry::{self, grpc}}; crate::cli::x()"
    assert used_modules(text) == {"error", "http", "model", "cli"}


@pytest.mark.parametrize("module", sorted(MAY_USE))
def test_module_uses_only_what_the_arrows_allow(module: str, repository: Path) -> None:
    allowed = MAY_USE[module] | LEAVES | {module}
    wrong = {
        name: sorted(used_modules(text) - allowed)
        for name, text in module_sources(repository, module).items()
        if used_modules(text) - allowed
    }
    assert not wrong


@pytest.mark.parametrize("module", sorted(EXTERNAL))
def test_module_names_only_the_crates_of_its_layer(module: str, repository: Path) -> None:
    foreign = re.compile(rf"\b({EXTERNAL[module]})::")
    found = {
        name: match.group(1)
        for name, text in module_sources(repository, module).items()
        if (match := foreign.search(text))
    }
    assert not found


@pytest.mark.parametrize("module", ["http", "grpc", "service", "dispatch"])
def test_no_lock_on_the_request_path(module: str, repository: Path) -> None:
    lock = re.compile(r"\b(Mutex|RwLock)\b")
    assert not [n for n, text in module_sources(repository, module).items() if lock.search(text)]


def test_unsafe_is_only_where_it_is_allowed(repository: Path) -> None:
    allowed = re.compile(r"shm/src/.*|batcher/src/(queue|combiner)(/.*)?\.rs")
    asked = re.compile(r"(allow|expect)\s*\([^)]*\bunsafe_code\b")
    found = [
        name
        for name, text in sources(repository / "crates")
        if "/src/" in f"/{name}" and asked.search(text) and not allowed.fullmatch(name)
    ]
    assert not found


def test_queue_takes_its_atomics_from_where_loom_can_replace_them(repository: Path) -> None:
    raw = re.compile(r"\b(std|core)::sync::(atomic|\{)")
    directory = repository / "crates/batcher/src"
    found = [name for name, text in sources(directory) if name != "sync.rs" and raw.search(text)]
    assert not found


def test_every_rust_file_opens_with_what_it_is_and_stays_readable(repository: Path) -> None:
    for directory in (repository / "crates").iterdir():
        for file in directory.glob("src/**/*.rs"):
            if {"generated", "tests", "tests.rs"} & set(file.relative_to(directory).parts):
                continue
            lines = file.read_text().splitlines()
            assert lines, file
            assert lines[0].startswith("//!"), file
            assert len(lines) <= 500, f"{file} has {len(lines)} lines; look for the second concept"
