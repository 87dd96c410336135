"""Which model names are allowed, for any text there is."""

import re
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver import ModelArchiverConfig
from archiver.errors import InvalidNameError
from archiver.package import check_arguments

FIRST = string.ascii_letters + string.digits
LATER = FIRST + "_-."


def check(name: str) -> None:
    here = str(Path(__file__).parent)
    check_arguments(ModelArchiverConfig(name, handler="h.py", version="1", export_path=here))


@given(st.text(FIRST, min_size=1, max_size=1), st.text(LATER))
def test_names_of_letters_digits_and_some_marks_pass(first: str, later: str) -> None:
    check(first + later)


@given(st.text())
def test_every_other_name_is_refused(name: str) -> None:
    allowed = name[:1] in set(FIRST) and set(name) <= set(LATER)
    if allowed:
        check(name)
    else:
        with pytest.raises(InvalidNameError, match=re.escape("Model name contains special")):
            check(name)


@pytest.mark.parametrize(
    "name", ["", "a b", "../a", "a/b", ".a", "-a", "_a", "a\n", "ä", "a\0", "\u0661"]
)
def test_names_that_would_hurt_are_refused(name: str) -> None:
    with pytest.raises(InvalidNameError):
        check(name)
