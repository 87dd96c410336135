"""What goes into an archive: from the arguments to names and source files.

Everything lands at the root of the archive by base name; an extra directory gives its children.
Nothing is copied here: the writers read the sources where they lie.
"""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Iterator
from pathlib import PurePosixPath

from archiver.config import ModelArchiverConfig
from archiver.errors import InvalidInputError, MemberConflictError, MissingFileError
from archiver.handler import handler_file
from archiver.manifest import MANIFEST_PATH

logger = logging.getLogger("archiver")

Members = dict[str, str]
"""Name in the archive (relative, with ``/``) to the path of the source file."""


def collect_members(config: ModelArchiverConfig) -> Members:
    """List the files of an archive, without its manifest, in the order of their names.

    On equal names the later wins, in the order model file, weights, handler, extra files,
    requirements, configuration.

    Raises:
        MissingFileError: an input does not exist.
        InvalidInputError: an input is not of the kind that its flag asks for.
        MemberConflictError: a sub-directory comes from two extra directories, or one name is
            a file and a directory.
    """
    listing = _Listing(os.path.realpath(config.target))
    listing.add_file(config.model_file, "--model-file")
    listing.add_file(config.serialized_file, "--serialized-file")
    listing.add_file(handler_file(config.handler, config.runtime), "--handler")
    for path in _extra_paths(config.extra_files or ""):
        listing.add_extra(path)
    listing.add_file(config.requirements_file, "--requirements-file")
    listing.add_file(config.config_file, "--config-file")
    return listing.sorted_members()


class _Listing:
    """The members found so far; ``target`` (a real path) is never one of them."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._members: Members = {}

    def add_file(self, path: str | None, flag: str) -> None:
        if not path:
            return
        if not os.path.exists(path):
            raise MissingFileError(f"File does not exist: {path} (from {flag})")
        if not os.path.isfile(path):
            raise InvalidInputError(f"Not a regular file: {path} (from {flag})")
        self._put(os.path.basename(path), path)

    def add_extra(self, path: str) -> None:
        if os.path.isfile(path):
            self._put(os.path.basename(path), path)
            return
        if not os.path.isdir(path):
            raise InvalidInputError(f"Invalid extra file given {path}")
        for name in sorted(os.listdir(path)):
            child = os.path.join(path, name)
            if not os.path.isdir(child):
                self._put(name, child)
            elif _is_wanted(name):
                if any(known.startswith(f"{name}/") for known in self._members):
                    raise MemberConflictError(
                        f"Directory {name} exists in the archive already, "
                        f"and extra directory {child} would be mixed into it"
                    )
                for inner, source in self._walk(child, name, (os.path.realpath(path),)):
                    self._put(inner, source)

    def sorted_members(self) -> Members:
        for name in self._members:
            for parent in PurePosixPath(name).parents:
                if str(parent) in self._members:
                    raise MemberConflictError(
                        f"{parent} is a file ({self._members[str(parent)]}) and a directory "
                        f"(of {self._members[name]}) in the archive"
                    )
        return dict(sorted(self._members.items()))

    def _walk(self, directory: str, name: str, above: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        """Yield (archive name, path) of all below a directory, following symbolic links.

        ``above`` are the real paths of the directories around this one: a link back to one of
        them would never end.
        """
        real = os.path.realpath(directory)
        if real == self._target:
            logger.warning("Left out, the archive cannot contain itself: %s", directory)
            return
        if real in above:
            raise InvalidInputError(f"Symbolic link to a directory around it: {directory}")
        for entry in sorted(os.listdir(directory)):
            path = os.path.join(directory, entry)
            if not os.path.isdir(path):
                yield f"{name}/{entry}", path
            elif _is_wanted(entry):
                yield from self._walk(path, f"{name}/{entry}", (*above, real))

    def _put(self, name: str, source: str) -> None:
        if not os.path.isfile(source):
            logger.warning("Left out, not a regular file: %s", source)
        elif os.path.realpath(source) == self._target:
            logger.warning("Left out, the archive cannot contain itself: %s", source)
        elif name == MANIFEST_PATH:
            logger.warning("Left out, the archive gets a manifest of its own: %s", source)
        else:
            before = self._members.get(name)
            if before is not None and not os.path.samefile(before, source):
                logger.warning("%s replaces %s in the archive: same name", source, before)
            self._members[name] = source


def _extra_paths(extra_files: str) -> Iterator[str]:
    """Split ``--extra-files`` and expand its patterns, in a fixed order."""
    for entry in extra_files.split(","):
        path = entry.strip()
        if not path:
            continue
        if os.path.exists(path):
            # Also a name with glob characters in it: what exists is meant literally.
            yield path
        elif "*" in path or "?" in path or ("[" in path and "]" in path):
            matches = sorted(glob.glob(path))
            if not matches:
                logger.warning("Given wildcard pattern did not match any file: %s", path)
            yield from matches
        else:
            raise MissingFileError(f"File does not exist: {path} (from --extra-files)")


def _is_wanted(directory_name: str) -> bool:
    return not directory_name.startswith(".") and directory_name not in {"__MACOSX", "__pycache__"}
