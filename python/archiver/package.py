"""One archiver run: check the arguments, find the files, write the archive."""

from __future__ import annotations

import os
import re

from archiver.config import ARCHIVE_SUFFIXES, RUNTIMES, ModelArchiverConfig
from archiver.errors import (
    ExportPathError,
    InvalidInputError,
    InvalidNameError,
    ModelArchiverError,
    WriteError,
)
from archiver.manifest import manifest_text
from archiver.members import collect_members
from archiver.writers import check_target, write_directory, write_tgz, write_zip

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_\-.]*"
"""What a model may be called, from the first character to the last."""


class ModelArchiver:
    """The Python interface of PyPI's ``model_archiver``, under its name."""

    @staticmethod
    def generate_model_archive(config: ModelArchiverConfig) -> None:
        """Write the archive that ``config`` describes; see :func:`generate_model_archive`."""
        generate_model_archive(config)


def generate_model_archive(config: ModelArchiverConfig) -> str:
    """Write a model archive.

    Args:
        config: what to pack and where to; nothing in it is changed.

    Returns:
        Path of the file (or, for ``no-archive``, the directory) that was written.

    Raises:
        ModelArchiverError: the archive was not written, and nothing else was changed.
    """
    check_arguments(config)
    target = config.target
    check_target(target, is_directory=config.archive_format == "no-archive", force=config.force)
    members = collect_members(config)
    manifest = manifest_text(config)
    try:
        if config.archive_format == "tgz":
            write_tgz(target, config.model_name, members, manifest, force=config.force)
        elif config.archive_format == "no-archive":
            write_directory(target, members, manifest)
        else:
            store = config.archive_format == "zip-store"
            write_zip(target, members, manifest, store=store, force=config.force)
    except ModelArchiverError:
        raise
    except OSError as exc:
        raise WriteError(
            f'Failed to save the model-archive to model-path "{config.export_path}": '
            f"{exc.strerror or exc}. Check the file permissions and retry."
        ) from exc
    return target


def check_arguments(config: ModelArchiverConfig) -> None:
    """Check what can be checked without looking at the inputs.

    Raises:
        InvalidNameError: the model name does not match :data:`NAME_PATTERN`.
        ExportPathError: the export path is missing or not a directory.
        InvalidInputError: an option has a value that it cannot have.
    """
    # Not `match` with a `$`, which would let a line break at the end pass.
    if not re.fullmatch(NAME_PATTERN, config.model_name):
        raise InvalidNameError(
            f"Model name contains special characters.\nAllowed is: ^{NAME_PATTERN}$"
        )
    if not os.path.isdir(config.export_path):
        raise ExportPathError(
            f"Given export-path {config.export_path} is not a directory. "
            "Point to a valid export-path directory."
        )
    if config.runtime not in RUNTIMES:
        raise InvalidInputError(f"Unknown runtime {config.runtime!r}; one of {RUNTIMES}")
    if config.archive_format not in ARCHIVE_SUFFIXES:
        known = tuple(ARCHIVE_SUFFIXES)
        raise InvalidInputError(f"Unknown archive format {config.archive_format!r}; one of {known}")
    if not os.path.basename(config.handler).partition(":")[0]:
        raise InvalidInputError(f"Handler {config.handler!r} names no file and no built-in handler")
