"""What to pack: the arguments of one archiver run as a plain value."""

from __future__ import annotations

import os
from argparse import Namespace
from dataclasses import dataclass, field, fields

RUNTIMES = ("python", "python3", "LSP")
"""Values of ``--runtime``; the server starts a Python worker for the first two."""

ARCHIVE_SUFFIXES = {"default": ".mar", "zip-store": ".mar", "tgz": ".tar.gz", "no-archive": ""}
"""Values of ``--archive-format`` and what each adds to the model name."""


@dataclass
class ModelArchiverConfig:
    """Arguments of one archiver run; field names as in PyPI's ``model_archiver``.

    Paths are relative to the current directory. ``extra_files`` is a comma-separated list of
    files, directories and glob patterns. ``version`` is the version of the model.
    """

    model_name: str
    handler: str
    version: str
    serialized_file: str | None = None
    model_file: str | None = None
    extra_files: str | None = None
    runtime: str = "python"
    export_path: str = field(default_factory=os.getcwd)
    archive_format: str = "default"
    force: bool = False
    requirements_file: str | None = None
    config_file: str | None = None

    @classmethod
    def from_args(cls, args: Namespace) -> ModelArchiverConfig:
        """Take the fields from parsed command-line arguments of the same names."""
        return cls(**{each.name: getattr(args, each.name) for each in fields(cls)})

    @property
    def target(self) -> str:
        """Path of the file or directory that this run writes."""
        suffix = ARCHIVE_SUFFIXES[self.archive_format]
        return os.path.join(self.export_path, self.model_name + suffix)
