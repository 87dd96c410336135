"""Installs the peers and the plotting library into environments of their own, below `.bench`.

All of them borrow the packages of the environment that runs this, so that there is one torch. What
does not install is left out with a line that says so.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = {
    "mosec": ["mosec==0.9.8"],
    "triton": ["nvidia-pytriton==0.7.0"],
    "tools": ["matplotlib>=3.8,<4", "locust>=2.30,<3"],
}
INSTALL_SECONDS = 900


def python_of(folder: Path, name: str) -> Path:
    """The interpreter of one environment, installed or not."""
    return folder / name / "bin" / "python"


def install_all(folder: Path) -> None:
    """Installs what is missing."""
    for name, packages in PACKAGES.items():
        stamp = folder / name / ".installed"
        wanted = " ".join(packages)
        if stamp.exists() and stamp.read_text() == wanted:
            continue
        print(f"installing {wanted} into {folder / name}", flush=True)
        try:
            _install(folder / name, packages)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"left out: {name} ({wanted}): {error}", file=sys.stderr, flush=True)
            continue
        stamp.write_text(wanted)


def _install(environment: Path, packages: list[str]) -> None:
    python = environment / "bin" / "python"
    if not python.exists():
        _run([sys.executable, "-m", "venv", str(environment)])
        _run([sys.executable, str(REPOSITORY / "tools" / "borrow_packages.py"), str(environment)])
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, *packages])


def _run(words: list[str]) -> None:
    subprocess.run(words, check=True, timeout=INSTALL_SECONDS)
