"""What a handler finds around itself: working directory, import path, arguments, logging.

Source: TorchServe ``EnvironmentUtils.java`` and ``model_service_worker.py``.
"""

from __future__ import annotations

import logging
import os
import sys
from io import TextIOWrapper
from pathlib import Path

from tserve_worker._control import LoadRequest


def start_logging() -> None:
    """Log to stdout, INFO and above, the message alone, a line at a time.

    The server stamps the lines and puts them into the model log.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO, force=True)


def enter_model(request: LoadRequest) -> None:
    """Make the model directory the working directory and its modules importable."""
    os.chdir(request.model_dir)
    search = python_path(request, os.environ.get("PYTHONPATH", ""))
    os.environ["PYTHONPATH"] = os.pathsep.join(search)
    search.append("")
    sys.path[:] = search + [entry for entry in sys.path if entry not in search]
    # A directory model is the user's own directory: leave no __pycache__ behind in it.
    sys.dont_write_bytecode = True


def leave_boot_directory() -> None:
    """Drop the directory that ``python -m`` put first on the import path."""
    if (
        sys.path
        and not getattr(sys.flags, "safe_path", False)
        and sys.path[0] in ("", str(Path.cwd()))
    ):
        del sys.path[0]


def python_path(request: LoadRequest, inherited: str) -> list[str]:
    """Order the directories that come before the standard library.

    Returns:
        the handler's directory (only for ``dir/file:function``), what PYTHONPATH had, the real
        model directory, and the parent of its link, where per-model packages are installed.
    """
    model_dir = os.path.realpath(request.model_dir)
    search = []
    if request.handler and ":" in request.handler:
        below = os.path.dirname(request.handler.partition(":")[0])
        if below:
            search.append(os.path.join(model_dir, below))
    search += [entry for entry in inherited.split(os.pathsep) if entry]
    search.append(model_dir)
    if request.link_parent:
        search.append(request.link_parent)
    return list(dict.fromkeys(search))


def worker_arguments(arguments: list[str]) -> list[str]:
    """Show handlers the ``sys.argv`` of a worker, under the script's name they know."""
    script = Path(__file__).parent.parent / "ts" / "model_service_worker.py"
    return [str(script), *arguments]
