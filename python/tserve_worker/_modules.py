"""Import the modules of an archive by bare name."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def import_top_level(name: str, directory: str) -> ModuleType:
    """Import a module by bare name, the directory's own before one that is loaded already.

    Raises:
        ImportError: there is none, or it could not import something itself.
    """
    importlib.invalidate_caches()
    file = Path(directory, f"{name}.py")
    taken = sys.modules.get(name)
    if taken is not None and file.is_file() and not _is_file_of(taken, file):
        # The file is called like a module that the worker itself has loaded (``queue.py``).
        # Replacing that would break its users, so this one lives beside it.
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is not None and spec.loader is not None:
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    return importlib.import_module(name)


def _is_file_of(module: ModuleType, file: Path) -> bool:
    """Tell whether a loaded module came from a file."""
    origin = getattr(module, "__file__", None)
    return origin is not None and Path(origin).resolve() == file.resolve()
