"""Fixtures shared by all tests that run a real server."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.archives import build_archive
from harness.server import Server

Archive = str | dict[str, Any]

# A shell that runs tests in the background ignores these, which all processes would inherit.
for number, usual in [
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
]:
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)


def _prepare(folder: Path, archives: list[Archive], options: dict[str, Any]) -> Server:
    """A server whose store holds the archives, all of them loaded unless `models` says which."""
    names = []
    for archive in archives:
        wanted = {"name": archive} if isinstance(archive, str) else archive
        names.append(build_archive(folder / "store", **wanted).name)
    return Server(folder, **{"models": names, **options})


class ServerFactory:
    """Builds archives and starts servers: `start_server("echo", {"name": ...}, config={...})`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers: list[Server] = []

    def __call__(self, *archives: Archive, ready: bool = True, **options: Any) -> Server:
        folder = self.folder / f"server-{len(self.servers)}"
        server = _prepare(folder, list(archives), options)
        self.servers.append(server)
        return server.start(ready=ready)


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[ServerFactory]:
    """Starts servers for one test, which fails when one of them leaves a process behind."""
    factory = ServerFactory(tmp_path)
    yield factory
    for server in factory.servers:
        server.stop()


@pytest.fixture(scope="module")
def shared_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """One server for a module whose tests do it no harm: `ARCHIVES = [...]` at the module's top."""
    archives = list(request.module.ARCHIVES)
    server = _prepare(tmp_path_factory.mktemp("shared"), archives, {})
    server.start()
    yield server
    server.stop()


@pytest.fixture
def key_and_certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A private key and a self-signed certificate for this machine, as PEM files."""
    if not shutil.which("openssl"):
        pytest.skip("needs the openssl command to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    words += " -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
    made = [*words.split(), "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True, timeout=60)
    return key, certificate


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds the end of every server's output to the report of a failed test."""
    report = yield
    if report.when == "call" and report.failed:
        for value in getattr(item, "funcargs", {}).values():
            servers = value.servers if isinstance(value, ServerFactory) else [value]
            for server in servers:
                if isinstance(server, Server):
                    report.sections.append(("server", server.log()))
    return report
