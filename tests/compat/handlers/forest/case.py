"""Decision trees without torch or a base class: CSV and JSON tables in, lists of dicts out."""

from harness.gallery import Case, as_json, form, raw, text

ROWS = [[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5], [5.5, 2.4, 3.7, 1.0]]
TABLE = "\n".join(",".join(map(str, row)) for row in ROWS)

CASE = Case(
    serialized_file="trees.json",
    extra_files=["index_to_name.json"],
    steps=[
        as_json(ROWS),
        as_json([]),
        text(TABLE),
        raw(TABLE.encode(), "text/csv"),
        raw(TABLE.encode()),
        form(("data", "iris.csv", "text/csv", TABLE.encode())),
        raw(b"a,b,c,d", status=503),
        as_json([[1, 2]], status=503),
        raw(b"1,2,3,4", "application/x-www-form-urlencoded", status=503),
        raw(b"", method="GET"),
    ],
)
