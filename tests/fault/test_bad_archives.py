"""Archives that are broken or hostile: refused with a reason, and nothing escapes or stays."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.processes import wait_until
from harness.server import Server

MANIFEST = {
    "archiverVersion": "0.12.0",
    "createdOn": "01/01/2026 00:00:00",
    "runtime": "python",
    "model": {"modelName": "bad", "handler": "handler.py", "modelVersion": "1.0"},
}
HANDLER = (
    "def handle(data, context):\n    return None if data is None else ['loaded'] * len(data)\n"
)
ARCHIVES = ["noop"]


def packed(members: dict[str, str | bytes], manifest: object = MANIFEST) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        if manifest is not None:
            text = manifest if isinstance(manifest, str) else json.dumps(manifest)
            archive.writestr("MAR-INF/MANIFEST.json", text)
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def with_symlink(target: str) -> bytes:
    buffer = io.BytesIO(packed({"handler.py": HANDLER}))
    with zipfile.ZipFile(buffer, "a") as archive:
        link = zipfile.ZipInfo("weights.pt")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, target)
        archive.writestr("weights.pt/pwned", "written through a link")
    return buffer.getvalue()


def tarred(*members: tuple[str, str, str]) -> bytes:
    """A .tar.gz with the usual files and (name, link target or "", content) members."""
    buffer = io.BytesIO()
    usual = [("MAR-INF/MANIFEST.json", "", json.dumps(MANIFEST)), ("handler.py", "", HANDLER)]
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, link, content in [*usual, *members]:
            member = tarfile.TarInfo(name)
            if link:
                member.type, member.linkname = tarfile.SYMTYPE, link
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content.encode()))
    return buffer.getvalue()


def bomb() -> bytes:
    """A megabyte that unpacks to more than a gigabyte."""
    zeros = bytes(64 << 20)
    return packed({"handler.py": HANDLER, **{f"{number}.bin": zeros for number in range(17)}})


CASES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "empty": ("bad.mar", lambda: b""),
    "text": ("bad.mar", lambda: b"this is no archive\n" * 100),
    "zeros": ("bad.mar", lambda: bytes(100_000)),
    "truncated": ("bad.mar", lambda: packed({"handler.py": HANDLER, "w": bytes(9999)})[:-60]),
    "half": ("bad.mar", lambda: packed({"w": bytes(range(256)) * 999})[:300]),
    "truncated-tar": ("bad.tar.gz", lambda: tarred()[:-40]),
    "no-manifest": ("bad.mar", lambda: packed({"handler.py": HANDLER}, None)),
    "manifest-no-json": ("bad.mar", lambda: packed({"handler.py": HANDLER}, "{nope")),
    "manifest-list": ("bad.mar", lambda: packed({"handler.py": HANDLER}, [])),
    "manifest-empty": ("bad.mar", lambda: packed({"handler.py": HANDLER}, {})),
    "no-model": ("bad.mar", lambda: packed({"handler.py": HANDLER}, {"runtime": "python"})),
    "path-escape": ("bad.mar", lambda: packed({"../../../pwned": "x", "handler.py": HANDLER})),
    "absolute": ("bad.mar", lambda: packed({"/tmp/tserve-pwned": "x", "handler.py": HANDLER})),
    "symlink": ("bad.mar", lambda: with_symlink("/tmp")),
    "tar-escape": ("bad.tar.gz", lambda: tarred(("../../pwned", "", "x"))),
    "tar-symlink": ("bad.tar.gz", lambda: tarred(("out", "/tmp", ""), ("out/pwned", "", "x"))),
}


def corrupt(content: bytes) -> bytes:
    """The same archive with damage in the middle of its data."""
    middle = len(content) // 2
    return (
        content[:middle]
        + bytes(255 - byte for byte in content[middle : middle + 64])
        + (content[middle + 64 :])
    )


CASES["damaged"] = (
    "bad.mar",
    lambda: corrupt(packed({"handler.py": HANDLER, "w": "".join(map(str, range(20_000)))})),
)


def escaped(server: Server) -> list[Path]:
    """Files that an archive has planted outside its own folder."""
    return [*server.folder.rglob("pwned"), *Path("/tmp").glob("*pwned")]


@pytest.mark.parametrize("case", CASES)
def test_refused_with_a_reason(shared_server: Server, case: str) -> None:
    name, make = CASES[case]
    (shared_server.store / name).write_bytes(make())
    try:
        answer = shared_server.manage("POST", f"/models?url={name}&initial_workers=1")
        assert 400 <= answer.status < 600, answer
        assert answer.message(), "there is a reason"
        assert "panicked" not in answer.text
        assert "bad" not in shared_server.model_names()
        assert escaped(shared_server) == []
    finally:
        (shared_server.store / name).unlink()
        shared_server.manage("DELETE", "/models/bad")
    assert shared_server.predict("noop").body == b"ok"


def test_bomb_is_refused_before_the_disk_is_full(start_server) -> None:
    server: Server = start_server("noop")
    (server.store / "bad.mar").write_bytes(bomb())
    answer = server.manage("POST", "/models?url=bad.mar&initial_workers=1")
    size = sum(file.stat().st_size for file in server.temporary.rglob("*") if file.is_file())
    assert answer.status >= 400, f"accepted, {size} bytes on disk"
    assert size < 256 << 20
    assert server.predict("noop").body == b"ok"


@pytest.mark.parametrize("case", ["text", "path-escape", "no-manifest"])
def test_broken_archive_at_start_stops_nobody_else(start_server, case: str) -> None:
    server: Server = start_server("noop", ready=False, models=["bad.mar", "noop.mar"])
    server.kill_everything()
    (server.store / "bad.mar").write_bytes(CASES[case][1]())
    server.start(ready=False)

    def serves() -> bool:
        assert server.is_running(), server.log()
        try:
            return server.predict("noop").body == b"ok"
        except OSError:
            return False

    wait_until(serves, 30, "the good model serves")
    assert escaped(server) == []
    assert "bad.mar" in server.log() + server.log_file("ts_log.log")
