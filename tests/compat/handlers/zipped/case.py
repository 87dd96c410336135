"""A package in a zip file that the handler unpacks and imports."""

import zipfile
from pathlib import Path

from harness.gallery import Case, as_json, form, text

CODE = """
ENDINGS = {"at": "cat", "ee": "tree"}

def rhyme(word):
    return next((rhyme for ending, rhyme in ENDINGS.items() if word.endswith(ending)), "orange")
"""


def build(folder: Path) -> None:
    with zipfile.ZipFile(folder / "package.zip", "w") as file:
        file.writestr("rhymes/__init__.py", CODE)


CASE = Case(
    extra_files=["package.zip"],
    build=build,
    steps=[
        text("hat"),
        text("three"),
        text(""),
        form(("data", None, None, b"month")),
        as_json(5, status=503),
    ],
)
