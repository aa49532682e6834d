"""Taskiq on a stream of Redis, which is acknowledged when a job has ended."""

from collections.abc import Sequence

from taskiq_redis import RedisStreamBroker

from benchmarks.peers import work

broker = RedisStreamBroker(work.REDIS_URL)


@broker.task(task_name="verify")
async def verify(id_: int) -> None:
    await work.run_async(id_)


async def start() -> None:
    await broker.startup()


async def enqueue_one(id_: int) -> None:
    await verify.kiq(id_)


async def enqueue_many(ids: Sequence[int]) -> None:
    """It has no bulk."""
    for id_ in ids:
        await verify.kiq(id_)
