"""Errors of the archiver, each of which ends the command with status 1.

    ModelArchiverError          anything that keeps an archive from being written
    ├── InvalidNameError        the model name has characters that are not allowed
    ├── ExportPathError         the export path is missing, or no directory
    ├── TargetExistsError       the archive is there already and may not be replaced
    ├── MissingFileError        an input file does not exist (also a FileNotFoundError)
    ├── InvalidInputError       an input is of the wrong kind (also a ValueError)
    ├── MemberConflictError     two inputs want one name in the archive (also a FileExistsError)
    └── WriteError              the archive could not be written (also an OSError)

The second base classes are what PyPI's ``model_archiver`` raises in the same place, so that
code written for it goes on catching what it used to catch.
"""

from __future__ import annotations


class ModelArchiverError(Exception):
    """Base of everything that keeps an archive from being written; catch it to catch all."""


class InvalidNameError(ModelArchiverError):
    """The model name has characters that are not allowed."""


class ExportPathError(ModelArchiverError):
    """The export path is missing, or is not a directory."""


class TargetExistsError(ModelArchiverError):
    """The archive is there already and may not be replaced."""


class MissingFileError(ModelArchiverError, FileNotFoundError):
    """An input file does not exist."""


class InvalidInputError(ModelArchiverError, ValueError):
    """An input is of the wrong kind: a directory for a file, an unreadable file, a bad option."""


class MemberConflictError(ModelArchiverError, FileExistsError):
    """Two inputs want one name in the archive and neither may silently win."""


class WriteError(ModelArchiverError, OSError):
    """The archive could not be written; nothing half written was left behind."""
