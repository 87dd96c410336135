"""Streaming to several requests at a time."""

from harness.gallery import Case, text, together

CASE = Case(
    query="batch_size=4&max_batch_delay=200",
    steps=[text("alone"), together(text("a"), text("b"), text("c"), text("d"))],
)
