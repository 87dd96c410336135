"""``import ts...``: TorchServe's module names, answered with the modules of this package.

The worker installs a finder in front of all others, so that the names lead here even where the
old ``torchserve`` package is installed. Both names give the same module object: what is patched
under one name is patched under the other, and ``isinstance`` never sees two classes.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from tserve_worker import _extras
from tserve_worker._version import __version__

PACKAGES = (
    "ts",
    "ts.model_service",
    "ts.protocol",
    "ts.torch_handler.unit_tests",
    "ts.torch_handler.unit_tests.test_utils",
)
"""Packages that only hold others."""

MODULES = {
    "ts.context": "_context",
    "ts.handler_utils": "handler_utils",
    "ts.launcher": "launcher",
    "ts.llm_launcher": "llm_launcher",
    "ts.metrics": "metrics",
    "ts.model_loader": "offline.model_loader",
    "ts.model_service.model_service": "offline.model_service",
    "ts.protocol.otf_message_handler": "offline.frames",
    "ts.service": "offline.service",
    "ts.torch_handler": "handlers",
    "ts.torch_handler.request_envelope": "envelopes",
    "ts.torch_handler.unit_tests.test_utils.mock_context": "testing",
    "ts.torch_handler.unit_tests.test_utils.model_dir": "offline.model_dir",
    "ts.utils": "utils",
    "ts.version": "_version",
}
"""Where a module is found, below ``tserve_worker``; submodules follow their package."""


class TsFinder(importlib.abc.MetaPathFinder):
    """Finds ``ts`` and everything below it in ``tserve_worker``."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of a name below ``ts``, None for a name that does not exist there."""
        del path, target
        if fullname in PACKAGES:
            return importlib.machinery.ModuleSpec(fullname, _PackageLoader(), is_package=True)
        own = own_name(fullname)
        if own is None or importlib.util.find_spec(own) is None:
            return None
        return importlib.machinery.ModuleSpec(fullname, _AliasLoader(own))


def own_name(fullname: str) -> str | None:
    """Translate a name below ``ts`` to the module of this package, None when there is none."""
    parent, tail = fullname, ""
    while parent:
        if parent in MODULES:
            return f"tserve_worker.{MODULES[parent]}{tail}"
        if parent in PACKAGES:
            return None
        parent, _, last = parent.rpartition(".")
        tail = f".{last}{tail}"
    return None


class _PackageLoader(importlib.abc.Loader):
    """Makes an empty package, whose submodules the finder knows."""

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Let the import system make the module."""

    def exec_module(self, module: ModuleType) -> None:
        """Put the version on ``ts`` itself."""
        if module.__name__ == "ts":
            module.__dict__["__version__"] = __version__


class _AliasLoader(importlib.abc.Loader):
    """Gives an existing module a second name."""

    def __init__(self, own: str) -> None:
        self._own = own
        self._spec: importlib.machinery.ModuleSpec | None = None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Import the module under its own name.

        Raises:
            ModuleNotFoundError: it needs a package that is not installed; the text says which.
        """
        module: ModuleType = _extras.load(self._own)
        self._spec = module.__spec__
        return module

    def get_code(self, fullname: str) -> Any:
        """Return the code of the module, which ``python -m`` runs."""
        del fullname
        spec = importlib.util.find_spec(self._own)
        return spec.loader.get_code(self._own) if spec is not None else None  # type: ignore[union-attr]

    def exec_module(self, module: ModuleType) -> None:
        """Undo the import system's one change: the module keeps the spec of its own name."""
        module.__spec__ = self._spec


def install() -> None:
    """Put the finder in front of all others; once is enough."""
    if not any(isinstance(finder, TsFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, TsFinder())
