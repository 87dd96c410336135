"""What models cost the server's own process, with real workers that do nothing."""

from __future__ import annotations

from pathlib import Path

from conftest import ServerFactory
from harness.processes import wait_until
from harness.server import Server

MODELS = 12


def status(server: Server) -> dict[str, int]:
    """Numbers of `/proc/PID/status`: memory in KiB, threads."""
    assert server.process is not None
    text = Path("/proc", str(server.process.pid), "status").read_text()
    fields = dict(line.split(":", 1) for line in text.splitlines())
    return {name: int(fields[name].split()[0]) for name in ("VmRSS", "RssAnon", "Threads")}


def register(server: Server, name: str) -> None:
    path = f"/models?url=noop.mar&model_name={name}&initial_workers=1&synchronous=true"
    answer = server.manage("POST", path)
    assert answer.status == 200, answer.text


def test_idle_models_cost_the_server_little_memory_and_no_threads(
    start_server: ServerFactory,
) -> None:
    server = start_server("noop", models=[])
    idle = status(server)
    # The development build is larger on disk; its heap is that of the release build.
    assert idle["RssAnon"] < 12 * 1024, idle
    # The first one pays for what is set up once.
    register(server, "first")
    assert server.predict("first", b"x").text == "ok"
    before = status(server)
    for number in range(MODELS):
        register(server, f"m{number}")
    after = status(server)
    each = (after["VmRSS"] - before["VmRSS"]) / MODELS
    assert each < 200, f"{each:.0f} KiB per model; {before} {after}"
    # Threads that unpack archives end by themselves when there is nothing to unpack.
    wait_until(
        lambda: status(server)["Threads"] <= idle["Threads"], 60, "threads as without models"
    )
