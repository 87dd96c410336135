"""Several asynchronous generators as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any


async def side_by_side(
    sources: Sequence[AsyncIterator[Any]],
) -> AsyncGenerator[tuple[int, Any], None]:
    """Yield (number of the source, item) as items come; leaving early ends all sources.

    Raises:
        Exception: the first one that a source raises; the others are ended then.
    """
    items: asyncio.Queue[tuple[int, Any] | None] = asyncio.Queue()

    async def drain(number: int, source: Any) -> None:
        async with aclosing(source):
            async for item in source:
                items.put_nowait((number, item))

    tasks = [asyncio.ensure_future(drain(*pair)) for pair in enumerate(sources)]
    together = asyncio.gather(*tasks)
    together.add_done_callback(lambda _: items.put_nowait(None))
    try:
        while (item := await items.get()) is not None:
            yield item
        await together
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(together, *tasks, return_exceptions=True)
