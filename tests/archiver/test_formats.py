"""The four formats, and that each appears complete or not at all."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archiver import ModelArchiver, ModelArchiverConfig, generate_model_archive
from archiver.errors import (
    ExportPathError,
    InvalidInputError,
    ModelArchiverError,
    TargetExistsError,
    WriteError,
)

FORMATS = {"default": "a.mar", "zip-store": "a.mar", "tgz": "a.tar.gz", "no-archive": "a"}
Read = Callable[[Path], Any]


def pack(archive_format: str = "default", **arguments: Any) -> Path:
    arguments = {"handler": "src/h.py", "export_path": "out", **arguments}
    os.makedirs("out", exist_ok=True)
    config = ModelArchiverConfig("a", version="1.0", archive_format=archive_format, **arguments)
    return Path(generate_model_archive(config))


@pytest.mark.parametrize(("archive_format", "name"), FORMATS.items())
def test_every_format_holds_the_same(
    project: Path, archive_format: str, name: str, read_archive: Read
) -> None:
    target = pack(archive_format, extra_files="d,extra.txt")
    assert target == Path("out", name)
    root = "a/" if archive_format == "tgz" else ""
    archive = read_archive(target)
    assert archive.files == {
        f"{root}{inner}": (project / source).read_bytes()
        for inner, source in {
            ".hidden-file": "d/.hidden-file",
            "cached.pyc": "d/cached.pyc",
            "extra.txt": "extra.txt",
            "h.py": "src/h.py",
            "in.txt": "d/in.txt",
            "sub/deep.txt": "d/sub/deep.txt",
            "sub/deeper/still.txt": "d/sub/deeper/still.txt",
        }.items()
    }
    assert archive.manifest["model"]["handler"] == "h.py"
    assert os.listdir("out") == [name]


def test_zip_has_sorted_files_and_the_manifest_last(project: Path) -> None:
    os.chmod("src/h.py", 0o755)
    with zipfile.ZipFile(pack(extra_files="d,extra.txt")) as mar:
        *files, manifest = mar.infolist()
    assert manifest.filename == "MAR-INF/MANIFEST.json"
    assert [file.filename for file in files] == sorted(file.filename for file in files)
    assert {file.compress_type for file in [*files, manifest]} == {zipfile.ZIP_DEFLATED}
    modes = {file.filename: stat.S_IMODE(file.external_attr >> 16) for file in files}
    assert modes["h.py"] == 0o755


def test_zip_store_does_not_compress(project: Path) -> None:
    with zipfile.ZipFile(pack("zip-store", extra_files="d")) as mar:
        assert {file.compress_type for file in mar.infolist()} == {zipfile.ZIP_STORED}


def test_tgz_belongs_to_nobody_and_has_no_links(project: Path) -> None:
    os.makedirs("links")
    os.link("extra.txt", "links/first.txt")
    os.link("extra.txt", "links/second.txt")
    with tarfile.open(pack("tgz", extra_files="links")) as tar:
        entries = tar.getmembers()
    assert [entry.name for entry in entries] == [
        "a/first.txt",
        "a/h.py",
        "a/second.txt",
        "a/MAR-INF/MANIFEST.json",
    ]
    assert all(entry.isreg() for entry in entries)
    assert {(entry.uid, entry.gid, entry.uname, entry.gname) for entry in entries} == {
        (0, 0, "", "")
    }
    assert entries[-1].mtime == 0


def test_file_older_than_zip_is_packed(project: Path) -> None:
    os.utime("src/h.py", (0, 0))
    with zipfile.ZipFile(pack()) as mar:
        assert mar.getinfo("h.py").date_time == (1980, 1, 1, 0, 0, 0)


@pytest.mark.parametrize("archive_format", ["default", "zip-store", "tgz"])
@pytest.mark.parametrize("epoch", ["1751551509", "0", "9999999999"])
def test_source_date_epoch_makes_equal_archives(
    project: Path, archive_format: str, epoch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    first = pack(archive_format, extra_files="d").read_bytes()
    os.utime("src/h.py", (1234567890, 1234567890))
    assert pack(archive_format, extra_files="d", force=True).read_bytes() == first


@pytest.mark.parametrize("archive_format", ["default", "tgz"])
def test_archive_file_has_the_permissions_of_any_new_file(
    project: Path, archive_format: str
) -> None:
    before = os.umask(0o027)
    try:
        target = pack(archive_format)
    finally:
        os.umask(before)
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


@pytest.mark.parametrize(("archive_format", "name"), FORMATS.items())
def test_existing_target_is_kept_without_force(
    project: Path, archive_format: str, name: str, read_archive: Read
) -> None:
    target = pack(archive_format)
    before = read_archive(target)
    (project / "src/h.py").write_text("changed = True\n")
    with pytest.raises(TargetExistsError, match=rf"^out/{name} already exists\."):
        pack(archive_format)
    assert read_archive(target) == before


@pytest.mark.parametrize("archive_format", FORMATS)
def test_force_replaces_an_archive(
    project: Path, archive_format: str, read_archive: Read, caplog: pytest.LogCaptureFixture
) -> None:
    target = pack(archive_format)
    (project / "src/h.py").write_text("changed = True\n")
    assert pack(archive_format, force=True) == target
    (content,) = read_archive(target).files.values()
    assert content == b"changed = True\n"
    assert caplog.messages == [f"Overwriting {target} ..."]
    assert os.listdir("out") == [target.name]


@pytest.mark.parametrize(("archive_format", "name"), FORMATS.items())
def test_failure_leaves_nothing_behind(
    project: Path, archive_format: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = pack(archive_format)
    before = target.stat()

    def no_space(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", no_space)
    monkeypatch.setattr(shutil, "copy2", no_space)
    monkeypatch.setattr(tarfile, "copyfileobj", no_space)
    with pytest.raises(WriteError, match=r'model-path "out": No space left .* permissions'):
        pack(archive_format, force=True)
    assert os.listdir("out") == [name]
    assert target.stat() == before


@pytest.mark.parametrize("archive_format", FORMATS)
def test_interruption_leaves_nothing_behind(
    project: Path, archive_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfileobj", interrupt)
    monkeypatch.setattr(shutil, "copy2", interrupt)
    monkeypatch.setattr(tarfile, "copyfileobj", interrupt)
    with pytest.raises(KeyboardInterrupt):
        pack(archive_format)
    assert os.listdir("out") == []


@pytest.mark.parametrize(("archive_format", "name"), FORMATS.items())
def test_target_that_appears_meanwhile_is_kept(
    project: Path, archive_format: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check_and_lose_the_race(target: str, *, is_directory: bool, force: bool) -> None:
        Path(target).mkdir() if is_directory else Path(target).write_text("theirs")
        if is_directory:
            Path(target, "h.py").mkdir()

    monkeypatch.setattr("archiver.package.check_target", check_and_lose_the_race)
    with pytest.raises(ModelArchiverError, match="already exists"):
        pack(archive_format)
    assert os.listdir("out") == [name]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_unreadable_source_and_unwritable_directory_are_told_apart(project: Path) -> None:
    os.chmod("extra.txt", 0)
    with pytest.raises(InvalidInputError, match=r"Cannot read extra\.txt: Permission denied"):
        pack(extra_files="extra.txt")
    os.chmod("out", 0o555)
    with pytest.raises(WriteError, match=r'model-path "out": Permission denied'):
        pack()


def test_no_archive_with_force_merges_into_its_own_directory(
    project: Path, read_archive: Read
) -> None:
    target = pack("no-archive", extra_files="extra.txt,d")
    (target / "users.txt").write_text("mine")
    (project / "d/sub/deep.txt").write_text("new")
    pack("no-archive", extra_files="d", force=True)
    files = read_archive(target).files
    assert files["sub/deep.txt"] == b"new"
    assert files["users.txt"] == b"mine"
    assert files["extra.txt"] == b"x"


def test_no_archive_with_force_leaves_a_foreign_directory_alone(project: Path) -> None:
    os.makedirs("out/a")
    Path("out/a/h.py").write_text("precious")
    with pytest.raises(TargetExistsError, match="is no model archive"):
        pack("no-archive", force=True)
    assert os.listdir("out/a") == ["h.py"]
    assert Path("out/a/h.py").read_text() == "precious"


def test_no_archive_with_force_fills_an_empty_directory(project: Path, read_archive: Read) -> None:
    os.makedirs("out/a")
    assert list(read_archive(pack("no-archive", force=True)).files) == ["h.py"]


def test_no_archive_does_not_follow_links_out_of_its_directory(project: Path) -> None:
    target = pack("no-archive")
    os.symlink(project / "d/sub", target / "sub")
    with pytest.raises(TargetExistsError, match="out/a/sub already exists and is not a directory"):
        pack("no-archive", extra_files="d", force=True)
    assert Path("d/sub/deep.txt").read_text() == "2"


@pytest.mark.parametrize("archive_format", FORMATS)
def test_target_of_the_other_kind_is_left_alone(project: Path, archive_format: str) -> None:
    target = Path("out", FORMATS[archive_format])
    if archive_format == "no-archive":
        target.parent.mkdir()
        target.write_text("mine")
    else:
        target.mkdir(parents=True)
    with pytest.raises(TargetExistsError, match="it is left alone"):
        pack(archive_format, force=True)
    assert target.is_dir() or target.read_text() == "mine"


def test_sources_in_the_directory_that_is_written_survive(
    project: Path, read_archive: Read
) -> None:
    target = pack("no-archive", extra_files="extra.txt")
    handler, extra = str(target / "h.py"), str(target / "extra.txt")
    pack("no-archive", handler=handler, extra_files=extra, force=True)
    assert read_archive(target).files == {
        "extra.txt": b"x",
        "h.py": (project / "src/h.py").read_bytes(),
    }


@pytest.mark.parametrize("archive_format", FORMATS)
def test_directory_of_the_models_name_in_the_temporary_directory_is_not_touched(
    project: Path, tmp_path: Path, archive_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    precious = tmp_path / "a/w.pth"
    precious.parent.mkdir()
    precious.write_text("precious")
    pack(archive_format, serialized_file=str(precious))
    assert precious.read_text() == "precious"


def test_export_path_must_be_a_directory(project: Path) -> None:
    for path in ("missing", "extra.txt"):
        with pytest.raises(ExportPathError, match=f"Given export-path {path} is not a directory"):
            pack(export_path=path)
    assert not os.path.exists("missing")


@pytest.mark.parametrize(
    "arguments",
    [{"runtime": "java"}, {"archive_format": "rar"}, {"handler": ""}, {"handler": "dir/:entry"}],
)
def test_impossible_options_are_refused(project: Path, arguments: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError):
        pack(**arguments)


def test_interface_of_the_original(project: Path, read_archive: Read) -> None:
    config = ModelArchiverConfig(model_name="b", handler="src/h", version="3")
    ModelArchiver.generate_model_archive(config)
    assert read_archive(project / "b.mar").manifest["model"] == {
        "modelName": "b",
        "handler": "h",
        "modelVersion": "3",
    }


@pytest.mark.slow
def test_weights_over_four_gibibytes(project: Path) -> None:
    with open("huge.pt", "wb") as weights:
        weights.truncate((4 << 30) + 5)
    with zipfile.ZipFile(pack(serialized_file="huge.pt")) as mar:
        assert mar.getinfo("huge.pt").file_size == (4 << 30) + 5
