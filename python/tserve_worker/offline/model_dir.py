"""``ts.torch_handler.unit_tests.test_utils.model_dir``: put a model's files together for a test."""

from __future__ import annotations

import shutil
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlparse


def download_model(model_url: str, model_dir: Path) -> None:
    """Fetch weights to ``model.pt`` in a directory, once for all tests that want the same."""
    cache = Path.cwd() / ".cache"
    cache.mkdir(exist_ok=True)
    file = cache / Path(urlparse(model_url).path).name
    if not file.exists():
        # Beside its place first: a download that breaks must not be found as a whole one.
        part = file.with_name(f"{file.name}.part")
        with urllib.request.urlopen(model_url) as answer, part.open("wb") as output:
            shutil.copyfileobj(answer, output)
        part.replace(file)
    shutil.copy(file, Path(model_dir) / "model.pt")


def copy_files(src_dir: Path, dst_dir: Path, files: Mapping[str, str]) -> None:
    """Copy files from one directory into another, under new names."""
    for source, target in files.items():
        shutil.copyfile(Path(src_dir) / source, Path(dst_dir) / target)
