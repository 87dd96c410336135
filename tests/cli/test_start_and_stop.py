"""Starting, stopping and finding the running server, as scripts for TorchServe expect it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Command

ALREADY = "TorchServe is already running, please use torchserve --stop to stop TorchServe.\n"


def start_in_background(tserve: Command) -> int:
    done = tserve.run(
        "--start", "--ncs", "--model-store", str(tserve.store), "--ts-config", tserve.config()
    )
    assert (done.returncode, done.stderr) == (0, "")
    return tserve.pid()


def test_version_is_printed_in_the_form_of_the_original(tserve: Command) -> None:
    for flag in ("--version", "-v"):
        done = tserve.run(flag)
        assert done.returncode == 0
        assert done.stdout.startswith("TorchServe Version is ")
        assert len(done.stdout.splitlines()) == 1


def test_a_background_start_returns_at_once_and_the_server_stays(tserve: Command) -> None:
    begun = time.monotonic()
    pid = start_in_background(tserve)
    assert time.monotonic() - begun < 5
    assert tserve.is_alive(pid)
    # A session of its own: closing the terminal does not end it.
    tserve.wait_until(lambda: os.getsid(pid) == pid, "a session of its own")

    again = tserve.run("--start", "--model-store", str(tserve.store))
    assert (again.returncode, again.stdout) == (1, ALREADY)

    (tserve.cwd / "key_file.json").write_text("{}")
    done = tserve.run("--stop")
    assert (done.returncode, done.stdout) == (0, "TorchServe has stopped.\n")
    assert not tserve.pid_file.exists()
    assert not (tserve.cwd / "key_file.json").exists()
    tserve.wait_until(lambda: not tserve.is_alive(pid), "the end of the server")


def test_stop_in_the_foreground_waits_for_the_end(tserve: Command) -> None:
    pid = start_in_background(tserve)
    done = tserve.run("--stop", "--foreground")
    assert (done.returncode, done.stdout) == (0, "")
    assert not tserve.is_alive(pid)
    assert not tserve.pid_file.exists()


def test_stop_without_a_server_says_so(tserve: Command) -> None:
    done = tserve.run("--stop")
    assert (done.returncode, done.stdout) == (0, "TorchServe is not currently running.\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_foreground_server_ends_in_order_on_a_signal(
    tserve: Command, number: signal.Signals
) -> None:
    server = tserve.serve("--ts-config", tserve.config())
    assert tserve.pid() == server.pid
    refused = tserve.run("--foreground", "--model-store", str(tserve.store))
    assert (refused.returncode, refused.stdout) == (1, ALREADY)
    server.send_signal(number)
    assert server.wait(30) == 0
    assert not tserve.pid_file.exists()


def test_two_servers_with_different_temporary_folders_run_side_by_side(
    tserve: Command, another_tserve: Command
) -> None:
    first = start_in_background(tserve)
    second = start_in_background(another_tserve)
    assert tserve.run("--stop", "--foreground").returncode == 0
    assert not tserve.is_alive(first)
    assert tserve.is_alive(second)


@pytest.mark.parametrize("content", ["", "nonsense", "4194303"])
def test_a_pid_file_without_a_process_is_removed(tserve: Command, content: str) -> None:
    tserve.pid_file.write_text(content)
    done = tserve.run("--stop")
    assert done.stdout == "Removing orphan pid file.\nTorchServe is not currently running.\n"
    assert not tserve.pid_file.exists()


def test_a_killed_server_leaves_an_orphan_that_does_not_block_the_next(tserve: Command) -> None:
    server = tserve.serve("--ts-config", tserve.config())
    server.kill()
    server.wait(30)
    assert tserve.pid_file.exists()
    tserve.serve("--ts-config", tserve.config())
    assert "Removing orphan pid file.\n" in tserve.output.read_text()


def test_a_process_that_is_no_server_is_never_stopped(tserve: Command) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        tserve.pid_file.write_text(str(stranger.pid))
        done = tserve.run("--stop")
        assert done.stdout == "TorchServe is not currently running.\n"
        assert stranger.poll() is None
        start_in_background(tserve)
        assert tserve.pid() != stranger.pid
        stranger.kill()


def test_the_temporary_folder_is_found_as_python_finds_it(tserve: Command) -> None:
    tserve.environment.pop("TMPDIR")
    tserve.pid_file.write_text("nonsense")
    assert "Removing orphan" in tserve.run("--version").stdout


def test_a_port_that_is_taken_ends_the_start_with_a_reason(tserve: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        name = tserve.config(f"inference_address=http://127.0.0.1:{port}")
        done = tserve.run("--foreground", "--model-store", str(tserve.store), "--ts-config", name)
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr
    assert f"127.0.0.1:{port}" in tserve.log()
    assert not tserve.pid_file.exists()
