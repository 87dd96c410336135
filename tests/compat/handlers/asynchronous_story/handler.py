"""An asynchronous handler that streams."""

import asyncio
import time

from ts.handler_utils.utils import send_intermediate_predict_response


class Teller:
    def initialize(self, context):
        time.sleep(1.0)
        self.words = ["once", "upon", "a", "time"]

    async def handle(self, data, context):
        (row,) = data
        for word in self.words:
            send_intermediate_predict_response(
                [f"{row['body']} {word}; "], context.request_ids, "Intermediate", 200, context
            )
            await asyncio.sleep(0.01)
        return ["the end"]
