"""A handler that cannot be imported: the registration fails alike."""

from harness.gallery import Case

CASE = Case(registered=500, steps=[])
