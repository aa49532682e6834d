"""SAQ on Redis: jobs move from list to list, and each keeps a key of its own."""

from collections.abc import Sequence
from typing import Any

from saq import Queue

from benchmarks.peers import work

queue = Queue.from_url(work.REDIS_URL)


async def verify(_: Any, *, id_: int) -> None:
    await work.run_async(id_)


settings = {"queue": queue, "functions": [verify], "concurrency": work.IN_FLIGHT}


async def start() -> None:
    await queue.connect()


async def enqueue_one(id_: int) -> None:
    await queue.enqueue("verify", id_=id_)


async def enqueue_many(ids: Sequence[int]) -> None:
    """It has no bulk."""
    for id_ in ids:
        await queue.enqueue("verify", id_=id_)
