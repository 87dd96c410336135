from harness.gallery import Case, as_json, raw

CASE = Case(
    extra_files=["prices.json"],
    steps=[
        as_json({"apple": 2, "melon": 1}),
        as_json({"quince": 1, "pear": 2}),
        as_json({}),
        raw(b"no basket"),
    ],
)
