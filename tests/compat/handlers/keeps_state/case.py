from harness.gallery import Case, text

CASE = Case(steps=[text("a"), text("b"), text("c")])
