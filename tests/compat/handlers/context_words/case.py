"""What the context says about model and requests, and what it lets a handler say about answers."""

from harness.gallery import Case, as_json, form, raw

CASE = Case(
    settings={"handler": {"nested": {"list": [1, "two", None, 3.5, True]}}, "batchSize": 2},
    steps=[
        as_json({}, headers={"X-Probe": "v", "Accept": "*/*"}),
        as_json({}, path="/predictions/{model}/1.0/some/path"),
        as_json({}, headers={"ts_request_sequence_id": "s1"}),
        form(("data", "d.bin", "application/octet-stream", b"x"), ("note", None, None, b"y")),
        as_json({"headers": {"X-Mine": "1", "x-other": "two"}}),
        as_json({"type": "application/x-thing"}),
        as_json({"status": 202}, status=202),
        as_json({"status": 404}, status=404),
        as_json({"all": 429}, status=429),
        as_json({"add": "more"}),
        raw(b"x", "text/plain", path="/models/{model}/invoke?a=1"),
        as_json({}).explained(),
    ],
)
