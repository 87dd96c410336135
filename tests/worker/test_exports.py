"""Each package exports what it says, and nothing besides."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest


@pytest.mark.parametrize("name", ["tserve_worker", "tserve_worker.handlers"])
def test_all_equals_the_namespace(name: str) -> None:
    module = importlib.import_module(name)
    public = {
        key
        for key, value in vars(module).items()
        if not key.startswith("_") and not isinstance(value, ModuleType) and key != "annotations"
    }
    assert public | {"__version__"} == set(module.__all__) | {"__version__"}
    assert list(module.__all__) == sorted(module.__all__)
    assert [key for key in module.__all__ if not hasattr(module, key)] == []


def test_every_packaged_handler_is_a_module() -> None:
    from tserve_worker.handlers import BUILTIN

    for name in BUILTIN:
        assert importlib.util.find_spec(f"tserve_worker.handlers.{name}") is not None, name


def test_every_module_opens_with_what_it_is() -> None:
    from pathlib import Path

    import tserve_worker

    for file in Path(tserve_worker.__file__).parent.rglob("*.py"):
        text = file.read_text()
        assert text.startswith('"""'), file
        assert len(text.splitlines()) <= 500, file
