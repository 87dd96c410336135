from harness.gallery import Case, text

STATUS = {
    "memory": 507,
    "cuda": 507,
    "torch": 507,
    "teapot": 418,
    "default": 500,
    "missing": 404,
    "success": 200,
}
KINDS = "value custom memory cuda assertion key torch teapot default unavailable missing success"
KINDS += " group stop none tuple dict text short long set object keys complex"

CASE = Case(
    handler="handler.py:handle",
    needs=["torch"],
    steps=[text("nothing fails"), *(text(k, status=STATUS.get(k, 503)) for k in KINDS.split())],
)
