from harness.gallery import Case, text

GOOD = "none truth numbers/not numbers/text/keys/ordered/default/tuples/point/enums/numpy/empty"
GOOD = GOOD.replace("none truth ", "none/truth/") + "/bytes/bytearray/float/int/bool/long/deep"

CASE = Case(
    handler="handler.py:handle",
    needs=["numpy"],
    steps=[
        *(text(kind) for kind in GOOD.split("/")),
        text("float32", status=503),
        text("array", status=503),
    ],
)
