"""Handlers as users write them, on TorchServe and on tserve: the same archive, the same answers.

Every folder beside this file is a model; README.md says how to add one.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from harness.gallery import Case, Gallery

# The first test waits until both servers are up; each waits for its model.
pytestmark = [pytest.mark.torchserve, pytest.mark.timeout(150)]


def load(folder: Path) -> Case:
    """The `CASE` of a folder's case.py."""
    spec = importlib.util.spec_from_file_location(f"case_{folder.name}", folder / "case.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    case = module.CASE
    assert isinstance(case, Case)
    return case


MODELS = [
    (file.parent, load(file.parent)) for file in sorted(Path(__file__).parent.glob("*/case.py"))
]


def skipped(case: Case) -> list[pytest.MarkDecorator]:
    """Skips a case whose packages are not installed."""
    absent = [name for name in case.needs if importlib.util.find_spec(name) is None]
    return [pytest.mark.skip(reason=f"{', '.join(absent)} not installed")] if absent else []


@pytest.mark.parametrize(
    "model",
    [pytest.param((folder, case), id=folder.name, marks=skipped(case)) for folder, case in MODELS],
)
def test_answers_are_the_same(model: tuple[Path, Case], gallery: Gallery) -> None:
    folder, case = model
    ours, theirs = gallery.ask(folder.name, case)
    assert len(ours) == len(theirs) == len(case.steps)
    for number, (mine, reference) in enumerate(zip(ours, theirs, strict=True)):
        assert mine == reference, f"step {number} of {folder.name}"
