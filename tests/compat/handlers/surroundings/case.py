from harness.gallery import Case, text

CASE = Case(
    settings={
        "deviceType": "cpu",
        "own": [1, "two", {"three": 4.5}],
        "handler": {"deep": {"x": None}},
    },
    handler="handler.py:handle",
    steps=[text("x")],
)
