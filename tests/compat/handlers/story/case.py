"""Streaming text: `send_intermediate_predict_response`."""

from harness.gallery import Case, as_json

CASE = Case(
    steps=[
        as_json({"words": 3, "last": "the end"}),
        as_json({"words": 2, "last": ""}),
        as_json({"words": 0, "last": "nothing before"}),
        as_json({"words": 1, "last": {"json": True}}),
        as_json({"last": "no number"}, status=503),
    ],
)
