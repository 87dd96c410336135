"""A model that does not fit into memory: the registration says so."""

from harness.gallery import Case

CASE = Case(registered=507, steps=[])
