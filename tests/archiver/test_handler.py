"""Which file belongs to a handler string."""

import sys

import pytest

from archiver.handler import BUILT_IN, BUILT_IN_LSP, handler_file


@pytest.mark.parametrize(
    ("handler", "file"),
    [
        ("h.py", "h.py"),
        ("h", "h.py"),
        ("dir/h.py", "dir/h.py"),
        ("dir/h", "dir/h.py"),
        ("dir/h:entry", "dir/h.py"),
        ("dir/h.py:entry", "dir/h.py"),
        ("h:entry", "h.py"),
        ("h.py:entry", "h.py"),
        ("/abs.py/dir:2/h", "/abs.py/dir:2/h.py"),
        ("dir/compiled.pyc", "dir/compiled.pyc"),
        ("dir/image_classifier", "dir/image_classifier.py"),
        ("image_classifier.py", "image_classifier.py"),
    ],
)
@pytest.mark.parametrize("runtime", ["python", "python3"])
def test_python_handler_is_a_python_file(handler: str, file: str, runtime: str) -> None:
    assert handler_file(handler, runtime) == file


@pytest.mark.parametrize("handler", sorted(BUILT_IN))
def test_built_in_handler_has_no_file(handler: str) -> None:
    assert handler_file(handler, "python") is None


@pytest.mark.parametrize("handler", sorted(BUILT_IN_LSP))
def test_built_in_lsp_handler_has_no_file(handler: str) -> None:
    assert handler_file(handler, "LSP") is None


@pytest.mark.parametrize(("platform", "suffix"), [("linux", ".so"), ("darwin", ".dylib")])
def test_lsp_handler_is_a_shared_library(
    platform: str, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert handler_file("lib/libh:Handler", "LSP") == f"lib/libh{suffix}"
    assert handler_file("image_classifier", "LSP") == f"image_classifier{suffix}"
