from harness.gallery import Case, as_json

CASE = Case(
    steps=[
        as_json({}),
        as_json({"status": 201, "phrase": "made it"}, status=201),
        as_json({"status": 422}, status=422),
        as_json({"type": "application/vnd.x+json", "headers": {"X-One": "1", "x-two": "b"}}),
        as_json({}, headers={"X-Token": "Abc"}),
        as_json({}, headers={"ts_request_sequence_id": "s-1", "explain": "True"}),
        as_json({}, path="/predictions/{model}/1.0/v1/chat"),
        as_json({}, path="/explanations/{model}"),
    ],
)
