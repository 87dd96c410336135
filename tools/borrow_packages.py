"""Makes another virtual environment see the packages of this one, after its own.

    python tools/borrow_packages.py ENVIRONMENT

torch is gigabytes: the environment of the real TorchServe borrows ours instead of holding another.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path


def main() -> None:
    """Writes the .pth file."""
    (environment,) = sys.argv[1:]
    python = Path(environment) / "bin" / "python"
    where = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    # The name sorts last, so that the environment's own packages come first.
    (Path(where) / "zz_borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")


if __name__ == "__main__":
    main()
