"""Side by side with PyPI's torch-model-archiver, and loaded by the real TorchServe."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.torchserve

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Read = Callable[[Path], Any]

NAMES = {"default": "a.mar", "zip-store": "a.mar", "tgz": "a.tar.gz", "no-archive": "a"}
EVERYTHING = [
    *("--handler", "src/h.py", "--model-file", "src/m.py", "--serialized-file", "w.pth"),
    *("--extra-files", "extra.txt,d,*.json", "--requirements-file", "reqs.txt"),
    *("--config-file", "cfg.yaml", "--runtime", "python3"),
]


@pytest.fixture
def original(project: Path, reference_bin: Path, tmp_path: Path) -> Run:
    """Run the original in the project; it wipes ``<temporary directory>/a``, so it gets its own."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    script = reference_bin / "torch-model-archiver"

    def run_original(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [script, "--model-name", "a", "--version", "1.0", *arguments],
            cwd=project,
            env={**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": ""},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run_original


@pytest.mark.parametrize("archive_format", NAMES)
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(EVERYTHING, id="everything"),
        pytest.param(["--handler", "src/h.py"], id="file"),
        pytest.param(["--handler", "src/h"], id="stem"),
        pytest.param(["--handler", "src/h:handle"], id="entry-point"),
        pytest.param(
            ["--handler", "image_classifier", "--serialized-file", "w.pth"], id="built-in"
        ),
        pytest.param(
            ["--handler", "src/h", "--extra-files", "none*,on[ae].json,d/sub"], id="patterns"
        ),
        pytest.param(["--handler", "BaseHandler", "--runtime", "LSP"], id="lsp"),
    ],
)
def test_same_arguments_give_the_same_archive(
    pack: Run,
    original: Run,
    project: Path,
    read_archive: Read,
    arguments: list[str],
    archive_format: str,
) -> None:
    made = {}
    for name, tool in {"ours": pack, "theirs": original}.items():
        (project / name).mkdir()
        done = tool(*arguments, "--archive-format", archive_format, "--export-path", name)
        assert done.returncode == 0, done.stderr
        made[name] = read_archive(project / name / NAMES[archive_format])
        assert os.listdir(project / name) == [NAMES[archive_format]]
    ours, theirs = made["ours"], made["theirs"]
    assert ours.files == theirs.files
    for archive in (ours, theirs):
        del archive.manifest["createdOn"], archive.manifest["archiverVersion"]
    assert ours.manifest == theirs.manifest
    assert list(ours.manifest["model"]) == list(theirs.manifest["model"])


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="no-handler"),
        pytest.param(["--handler", "absent.py"], id="missing-handler"),
        pytest.param(["--handler", "src/h.py", "--model-name", "a b"], id="bad-name"),
        pytest.param(["--handler", "src/h.py", "--export-path", "missing"], id="no-export-path"),
        pytest.param(["--handler", "src/h.py", "--export-path", "w.pth"], id="file-export-path"),
        pytest.param(["--handler", "src/h.py", "--extra-files", "gone"], id="missing-extra"),
        pytest.param(["--handler", "src/h.py", "--model-file", "gone.py"], id="missing-model"),
        pytest.param(["--handler", "src/h.py", "--serialized-file", "d"], id="directory-weights"),
        pytest.param(["--handler", "src/h.py", "--runtime", "java"], id="bad-runtime"),
        pytest.param(["--handler", "src/h.py", "--archive-format", "rar"], id="bad-format"),
        pytest.param(["--handler", "src/h.py", "--extra-files", "d,e"], id="twice-one-directory"),
    ],
)
def test_what_fails_there_fails_here_with_the_same_status(
    pack: Run, original: Run, project: Path, arguments: list[str]
) -> None:
    shutil.copytree(project / "d", project / "e")
    ours, theirs = pack(*arguments), original(*arguments)
    assert theirs.returncode != 0
    assert ours.returncode == theirs.returncode
    assert "Traceback" not in ours.stderr
    assert not (project / "a.mar").exists()


def test_file_with_entry_point_works_here_only(
    pack: Run, original: Run, project: Path, read_archive: Read
) -> None:
    assert original("--handler", "src/h.py:handle").returncode == 1
    assert pack("--handler", "src/h.py:handle").returncode == 0
    assert list(read_archive(project / "a.mar").files) == ["h.py"]


@pytest.fixture
def torchserve(
    project: Path, reference_bin: Path, tmp_path: Path
) -> Iterator[Callable[[Path], str]]:
    """Start the original on a model store, given once; yields the address for predictions."""
    if not (reference_bin / "torchserve").exists() or shutil.which("java") is None:
        pytest.skip("the real torchserve is not installed, or there is no java to run it")
    home = tmp_path / "torchserve"
    home.mkdir()
    started: list[subprocess.Popen[bytes]] = []

    def start(store: Path) -> str:
        ports = _free_ports(5)
        keys = ["inference_address", "management_address", "metrics_address"]
        lines = [f"{key}=http://127.0.0.1:{port}" for key, port in zip(keys, ports, strict=False)]
        lines += [f"grpc_inference_port={ports[3]}", f"grpc_management_port={ports[4]}"]
        lines += ["default_workers_per_model=1", "disable_token_authorization=true"]
        (home / "config.properties").write_text("\n".join(lines) + "\n")
        words = ["--start", "--foreground", "--ncs", "--model-store", str(store), "--models", "all"]
        words += ["--ts-config", str(home / "config.properties")]
        log = (home / "out.txt").open("wb")
        started.append(
            subprocess.Popen(
                [reference_bin / "torchserve", *words],
                cwd=home,
                env={
                    **os.environ,
                    "PATH": f"{reference_bin}{os.pathsep}{os.environ['PATH']}",
                    "PYTHONPATH": "",
                    "TMPDIR": str(home),
                    "TEMP": str(home),
                },
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        )
        log.close()
        return f"http://127.0.0.1:{ports[0]}"

    yield start
    for process in started:
        # The script does not pass the signal on to Java, so the whole session gets it.
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=20)


@pytest.mark.slow
def test_torchserve_loads_our_archives(
    run: Run, project: Path, torchserve: Callable[[Path], str]
) -> None:
    store = project / "store"
    store.mkdir()
    for name, archive_format in {
        "deflated": "default",
        "stored": "zip-store",
        "packed": "tgz",
        "plain": "no-archive",
    }.items():
        done = run(
            *("--model-name", name, "--version", "1.0", "--handler", "src/h.py"),
            *("--extra-files", "d", "--export-path", "store", "--archive-format", archive_format),
        )
        assert done.returncode == 0, done.stderr
    address = torchserve(store)
    for name in ("deflated", "stored", "packed", "plain"):
        assert _answer(f"{address}/predictions/{name}", project.parent / "torchserve/out.txt") == (
            b"from h"
        )


def _answer(url: str, log: Path) -> bytes:
    """Ask until the model is there."""
    deadline = time.monotonic() + 90
    while True:
        try:
            with urllib.request.urlopen(url, data=b"{}", timeout=30) as answer:
                body: bytes = answer.read()
                return body
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            if time.monotonic() > deadline:
                pytest.fail(f"no answer from {url}; its log ends\n{log.read_text()[-4000:]}")
            time.sleep(0.25)


def _free_ports(count: int) -> list[int]:
    """Find ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
