"""An asynchronous handler; the JSON body says what to do.

Keys: sleep, block (lets no others run), die, raise, parts, stubborn (goes on when cancelled),
report (a file that hears how it ended), size (of a part). The answer is the tag.
"""

import asyncio
import os
import signal
import time

from ts.handler_utils.utils import send_intermediate_predict_response

LOCK = __import__("threading").Lock()


def report(wish, word):
    if "report" in wish:
        with open(wish["report"], "a") as file:
            file.write(f"{wish.get('tag', '')} {word}\n")


class Later:
    def __init__(self):
        self.running = 0
        self.most = 0

    def initialize(self, context):
        # Neither can be copied, nor does it belong to another loop.
        context.lock = LOCK
        self.ready = asyncio.get_event_loop().run_until_complete(asyncio.sleep(0.01, "ready"))

    async def handle(self, data, context):
        assert context.lock is LOCK
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            return [await self.one(row["body"], context) for row in data]
        finally:
            self.running -= 1

    async def one(self, wish, context):
        try:
            if wish.get("die"):
                os.kill(os.getpid(), signal.SIGKILL)
            if wish.get("raise"):
                raise ValueError("as asked")
            time.sleep(wish.get("block", 0))
            await asyncio.sleep(wish.get("sleep", 0))
            for number in range(wish.get("parts", 0)):
                part = f"{wish['tag']}{number} ".ljust(wish.get("size", 0), ".")
                send_intermediate_predict_response(
                    [part], context.request_ids, "Intermediate", 200, context
                )
                await asyncio.sleep(wish.get("pause", 0.001))
        except asyncio.CancelledError:
            report(wish, "cancelled")
            if not wish.get("stubborn"):
                raise
        except ConnectionError:
            report(wish, "gone")
            raise
        if wish.get("most"):
            return str(self.most)
        return wish.get("tag", "")
