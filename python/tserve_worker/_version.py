"""The version of tserve, as the compiled extension or the installed distribution has it."""

from __future__ import annotations

import importlib.metadata


def _find_version() -> str:
    """Return the version, or ``0.0.0`` in a source tree where nothing was built."""
    try:
        return importlib.metadata.version("tserve")
    except importlib.metadata.PackageNotFoundError:
        return "0.0.0"


__version__ = _find_version()
