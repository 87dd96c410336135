"""An asynchronous handler, which waits for something else most of its time."""

import asyncio
import time


class Waiter:
    def initialize(self, context):
        # TorchServe loses a worker that loads faster than it waits for it.
        time.sleep(1.0)
        self.name = context.model_name

    async def handle(self, data, context):
        (row,) = data
        seconds = float(row["body"])
        await asyncio.sleep(seconds)
        context.set_response_header(0, "waited", str(seconds))
        return [{"model": self.name, "waited": seconds}]
