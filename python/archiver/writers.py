"""Writing archives: each appears under its name complete, or not at all.

Every writer works on a uniquely named neighbour of the target and renames it at the end, so a
failure, a signal or a full disk leaves the target as it was and no rubbish beside it.
"""

from __future__ import annotations

import gzip
import io
import logging
import os
import secrets
import shutil
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, BinaryIO

from archiver.errors import InvalidInputError, TargetExistsError
from archiver.manifest import MANIFEST_PATH, build_time, source_date_epoch
from archiver.members import Members

logger = logging.getLogger("archiver")

CHUNK_BYTES = 1 << 20

Fill = Callable[[BinaryIO], None]
"""Writes the content of an archive into an open file."""


def write_zip(target: str, members: Members, manifest: str, *, store: bool, force: bool) -> None:
    """Write a ``.mar`` file: entries at the root of the zip, the manifest last.

    Args:
        target: path of the archive.
        members: what goes in, besides the manifest.
        manifest: text of the manifest.
        store: do not compress.
        force: replace an existing file.

    Raises:
        TargetExistsError: the target is there, and ``force`` is not given.
        OSError: the archive cannot be written.
    """
    method = zipfile.ZIP_STORED if store else zipfile.ZIP_DEFLATED

    def fill(out: BinaryIO) -> None:
        with zipfile.ZipFile(out, "w", method, strict_timestamps=False) as archive:
            for name, source in members.items():
                entry = zipfile.ZipInfo.from_file(source, name, strict_timestamps=False)
                if source_date_epoch() is not None:
                    entry.date_time = _zip_time(build_time())
                entry.compress_type = method
                with _source(source) as data, archive.open(entry, "w") as slot:
                    shutil.copyfileobj(data, slot, CHUNK_BYTES)
            entry = zipfile.ZipInfo(MANIFEST_PATH, _zip_time(build_time()))
            entry.compress_type = method
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, manifest)

    _write_file(target, fill, force)


def write_tgz(target: str, root: str, members: Members, manifest: str, *, force: bool) -> None:
    """Write a ``.tar.gz`` file with everything below ``root/``; otherwise as :func:`write_zip`."""

    def fill(out: BinaryIO) -> None:
        epoch = source_date_epoch()
        with (
            gzip.GzipFile("", "wb", fileobj=out, mtime=0) as packed,
            tarfile.open(mode="w", fileobj=packed, format=tarfile.PAX_FORMAT) as archive,
        ):
            for name, source in members.items():
                with _source(source) as data:
                    entry = archive.gettarinfo(arcname=f"{root}/{name}", fileobj=data)
                    # A hard link of an earlier member would make the entry a link to it.
                    entry.type, entry.linkname = tarfile.REGTYPE, ""
                    entry.size = os.fstat(data.fileno()).st_size
                    entry.uid = entry.gid = 0
                    entry.uname = entry.gname = ""
                    entry.mtime = int(entry.mtime) if epoch is None else epoch
                    archive.addfile(entry, data)
            entry = tarfile.TarInfo(f"{root}/{MANIFEST_PATH}")
            text = manifest.encode()
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))

    _write_file(target, fill, force)


def write_directory(target: str, members: Members, manifest: str) -> None:
    """Write the members and the manifest as plain files below ``target``.

    An earlier archive directory is merged into, as TorchServe's archiver does: its files of the
    same names are replaced, one by one and each at once, and other files stay.

    Raises:
        TargetExistsError: something in the earlier directory may not be replaced.
        OSError: the directory cannot be written.
    """
    names = [*members, MANIFEST_PATH]
    for name in names:
        _check_replaceable(target, name)
    with _unique_neighbour(target, os.mkdir) as staging:
        for name in names:
            os.makedirs(os.path.dirname(os.path.join(staging, name)), exist_ok=True)
        for name, source in members.items():
            with _source(source):
                shutil.copy2(source, os.path.join(staging, name))
        with open(os.path.join(staging, MANIFEST_PATH), "x", encoding="utf-8") as out:
            out.write(manifest)
        if not os.path.lexists(target):
            os.rename(staging, target)
            return
        for name in names:
            place = os.path.join(target, name)
            os.makedirs(os.path.dirname(place), exist_ok=True)
            os.replace(os.path.join(staging, name), place)


def check_target(target: str, *, is_directory: bool, force: bool) -> None:
    """Check that ``target`` is free, or may be replaced; say so when it will be.

    Raises:
        TargetExistsError: it is there and ``force`` is not given, or it is something that this
            program does not make: a directory for a file, a file for a directory, or a
            directory with files but without a manifest.
    """
    if not os.path.lexists(target):
        return
    if not force:
        raise _already_exists(target)
    if os.path.isdir(target) != is_directory:
        kind = "is not a directory" if is_directory else "is a directory"
        raise TargetExistsError(f"{target} already exists and {kind}; it is left alone.")
    has_manifest = os.path.isfile(os.path.join(target, MANIFEST_PATH))
    if is_directory and os.listdir(target) and not has_manifest:
        raise TargetExistsError(
            f"{target} already exists and is no model archive (it has no {MANIFEST_PATH}); it is "
            "left alone even with --force/-f. Remove it, or choose another --export-path."
        )
    logger.warning("Overwriting %s ...", target)


def _check_replaceable(target: str, name: str) -> None:
    """Check that a merge replaces a file by a file, and does not leave the target by a link."""
    place = os.path.join(target, name)
    if os.path.isdir(place) and not os.path.islink(place):
        raise TargetExistsError(f"{place} already exists and is a directory, not a file.")
    for parent in PurePosixPath(name).parents[:-1]:
        above = os.path.join(target, parent)
        if os.path.islink(above) or (os.path.lexists(above) and not os.path.isdir(above)):
            raise TargetExistsError(f"{above} already exists and is not a directory.")


def _already_exists(target: str) -> TargetExistsError:
    return TargetExistsError(f"{target} already exists. Use --force/-f to overwrite it.")


def _write_file(target: str, fill: Fill, force: bool) -> None:
    with _unique_neighbour(target, _create_file) as partial:
        with open(partial, "wb") as out:
            fill(out)
            out.flush()
            os.fsync(out.fileno())
        if force:
            os.replace(partial, target)
        else:
            _rename_to_new(partial, target)


def _create_file(path: str) -> None:
    open(path, "xb").close()


def _rename_to_new(partial: str, target: str) -> None:
    """Give a file its final name, unless another process took the name meanwhile."""
    try:
        os.link(partial, target)
    except FileExistsError:
        raise _already_exists(target) from None
    except OSError:
        # No hard links on this file system; what is left is the check made before.
        os.replace(partial, target)


@contextmanager
def _unique_neighbour(target: str, create: Callable[[str], None]) -> Iterator[str]:
    """Make a file or directory beside ``target`` under a name that nobody has; remove it after."""
    directory, name = os.path.split(target)
    path = os.path.join(directory, f".{name}.{secrets.token_hex(8)}.partial")
    create(path)
    try:
        yield path
    finally:
        if os.path.isdir(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.unlink(path)


@contextmanager
def _source(path: str) -> Iterator[IO[bytes]]:
    """Open an input; a failure names it, so that it is not taken for a failure to write."""
    try:
        data = open(path, "rb")  # noqa: SIM115 (only the opening is to be caught)
    except OSError as exc:
        raise InvalidInputError(f"Cannot read {path}: {exc.strerror}") from exc
    with data:
        yield data


def _zip_time(moment: time.struct_time) -> tuple[int, int, int, int, int, int]:
    """Clamp a time to what a zip entry can say (1980 to 2107)."""
    year, month, day, hour, minute, second = moment[:6]
    if year < 1980:
        return (1980, 1, 1, 0, 0, 0)
    return (min(year, 2107), month, day, hour, minute, second)
