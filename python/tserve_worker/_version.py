"""The version of tserve, as the compiled extension has it."""

from __future__ import annotations

import importlib.metadata


def _find_version() -> str:
    """Return the extension's version; where it was not built, that of the distribution."""
    try:
        from tserve_worker import _native
    except ImportError:
        try:
            return importlib.metadata.version("tserve")
        except importlib.metadata.PackageNotFoundError:
            return "0.0.0"
    return _native.__version__


__version__ = _find_version()
