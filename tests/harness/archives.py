"""Builds model archives from the small handlers in `tests/models/`, with the project's archiver."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

MODELS = Path(__file__).resolve().parents[1] / "models"


def archiver_command() -> list[str]:
    """The archiver under test: `TSERVE_ARCHIVER`, else the installed package."""
    named = os.environ.get("TSERVE_ARCHIVER")
    return shlex.split(named) if named else [sys.executable, "-m", "archiver"]


def build_archive(
    store: Path,
    name: str,
    *,
    handler: str | None = None,
    version: str = "1.0",
    file_name: str | None = None,
    settings: Mapping[str, object] | None = None,
    serialized_file: Path | None = None,
    model_file: Path | None = None,
    extra_files: Sequence[Path] = (),
    requirements_file: Path | None = None,
    archive_format: str = "default",
) -> Path:
    """Packs one model into `store` and returns the archive's path.

    `handler` is a file of `tests/models/` (`echo.py` or `entry.py:serve`), or the name of a handler
    that comes with the worker; by default `NAME.py`. `settings` becomes `model-config.yaml`: plain
    values only. `file_name` names the archive, without its ending, where that is not the model's
    name.
    """
    store.mkdir(parents=True, exist_ok=True)
    handler = handler or f"{name}.py"
    file, _, function = handler.partition(":")
    if (MODELS / file).exists():
        handler = str(MODELS / file) + (f":{function}" if function else "")
    work = store.parent / f"pack-{file_name or name}"
    work.mkdir()
    words = [
        *archiver_command(),
        *("--model-name", name, "--version", version, "--handler", handler),
        *("--export-path", str(work), "--archive-format", archive_format),
    ]
    if settings:
        if "minWorkers" in settings:  # alone, it is more than the maximum, which is 0 then
            settings = {"maxWorkers": settings["minWorkers"], **settings}
        config = work / "model-config.yaml"
        config.write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))
        words += ["--config-file", str(config)]
    if serialized_file:
        words += ["--serialized-file", str(serialized_file)]
    if model_file:
        words += ["--model-file", str(model_file)]
    if requirements_file:
        words += ["--requirements-file", str(requirements_file)]
    if extra_files:
        words += ["--extra-files", ",".join(map(str, extra_files))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}{done.stderr}"
    ending = {"default": ".mar", "zip-store": ".mar", "tgz": ".tar.gz", "no-archive": ""}
    made = work / f"{name}{ending[archive_format]}"
    target = store / f"{file_name or name}{ending[archive_format]}"
    made.rename(target)
    return target
