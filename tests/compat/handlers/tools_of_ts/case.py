from harness.gallery import Case, text

CASE = Case(
    extra_files=["labels.json"],
    needs=["torch"],
    steps=[text("Hello, <b>World</b>! It&amp;s here."), text("")],
)
