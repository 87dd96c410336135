"""Tells a text word by word, as language models do."""

from ts.handler_utils.utils import send_intermediate_predict_response


class Teller:
    def __init__(self):
        self.initialized = False

    def initialize(self, context):
        self.initialized = True

    def handle(self, data, context):
        (row,) = data
        wish = row["body"]
        context.set_response_content_type(0, "text/plain")
        for number in range(wish["words"]):
            part = [f"word {number} "]
            send_intermediate_predict_response(
                part, context.request_ids, "Intermediate response", 200, context
            )
        return [wish["last"]]
