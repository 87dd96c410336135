"""The package says what it exports, and its errors are caught as the original's were."""

import types

import archiver
from archiver import errors


def test_all_names_everything_public() -> None:
    public = {
        name
        for name, value in vars(archiver).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert public == set(archiver.__all__)
    assert archiver.__all__ == sorted(archiver.__all__)


def test_every_error_is_a_model_archiver_error() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert len(kinds) == 8
    assert all(issubclass(kind, errors.ModelArchiverError) for kind in kinds)


def test_errors_are_also_what_the_original_raised() -> None:
    assert issubclass(errors.MissingFileError, FileNotFoundError)
    assert issubclass(errors.InvalidInputError, ValueError)
    assert issubclass(errors.MemberConflictError, FileExistsError)
    assert issubclass(errors.WriteError, OSError)
