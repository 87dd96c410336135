from harness.gallery import Case, text

CASE = Case(
    settings={"handler": {"profile": True}},
    needs=["torch"],
    steps=[text("abc"), text("again: the last step has been timed once")],
)
