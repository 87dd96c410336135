"""Which Python package may import what, and that the distribution holds all of them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

FRESH = """
import sys
sys.path.insert(0, sys.argv[1])
import archiver, archiver.__main__
print(*{name.partition(".")[0] for name in sys.modules})
"""


def imports(package: Path) -> set[str]:
    """Name the top-level modules that the files of a package import, wherever they do."""
    found: set[str] = set()
    for file in package.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add((node.module or "").partition(".")[0])
    return found


def test_archiver_loads_with_the_standard_library_alone(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", FRESH, str(repository / "python")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert loaded - sys.stdlib_module_names <= {"archiver", "__main__", "__mp_main__"}
    assert "archiver" in loaded


def test_archiver_imports_nothing_else_even_late(repository: Path) -> None:
    assert imports(repository / "python/archiver") - sys.stdlib_module_names == {"archiver"}


def test_worker_does_not_know_the_archiver(repository: Path) -> None:
    for package in ("tserve_worker", "ts"):
        assert "archiver" not in imports(repository / "python" / package)


def test_every_package_is_in_the_wheel(repository: Path) -> None:
    text = (repository / "pyproject.toml").read_text()
    (listed,) = re.findall(r"^python-packages = \[(.*)\]$", text, re.MULTILINE)
    packages = {path.parent.name for path in (repository / "python").glob("*/__init__.py")}
    assert packages <= set(re.findall(r'"(\w+)"', listed))


def test_every_package_has_types(repository: Path) -> None:
    for package in (repository / "python").glob("*/__init__.py"):
        assert (package.parent / "py.typed").exists(), package.parent
