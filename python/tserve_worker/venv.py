"""Makes the virtual environment of a model: ``python -m tserve_worker.venv FOLDER``.

The environment also sees the packages of the interpreter that makes it, behind its own: torch is
not installed once per model.
"""

from __future__ import annotations

import importlib.util
import site
import sys
import venv
from pathlib import Path

OUTER = "tserve-outer.pth"


def make(folder: Path) -> None:
    """Make an environment that inherits the packages of this interpreter.

    Args:
        folder: where; it must not exist yet.
    """
    has_pip = importlib.util.find_spec("pip") is not None
    venv.EnvBuilder(symlinks=True, with_pip=not has_pip).create(folder)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / version / "site-packages"
    # Added as site folders, not as plain entries of the path, so that their own .pth files count.
    lines = [f"import site; site.addsitedir({outer!r})\n" for outer in outer_packages()]
    (packages / OUTER).write_text("".join(lines), encoding="utf-8")


def outer_packages() -> list[str]:
    """Return the package folders of this interpreter, the ones that count first in front."""
    folders = site.getsitepackages()
    if site.ENABLE_USER_SITE:
        folders.insert(0, site.getusersitepackages())
    return [folder for folder in folders if Path(folder).is_dir()]


if __name__ == "__main__":
    make(Path(sys.argv[1]))
