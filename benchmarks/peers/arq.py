"""arq on Redis: jobs in a sorted set, which workers poll."""

from collections.abc import Sequence
from typing import Any

from arq import create_pool, func
from arq.connections import ArqRedis, RedisSettings

from benchmarks.peers import work


async def verify(_: Any, id_: int) -> None:
    await work.run_async(id_)


class WorkerSettings:
    functions = (func(verify, name="verify", keep_result=0),)
    redis_settings = RedisSettings.from_dsn(work.REDIS_URL)
    max_jobs = work.IN_FLIGHT


_pool: ArqRedis


async def start() -> None:
    global _pool  # one a process
    _pool = await create_pool(WorkerSettings.redis_settings)


async def enqueue_one(id_: int) -> None:
    await _pool.enqueue_job("verify", id_)


async def enqueue_many(ids: Sequence[int]) -> None:
    """It has no bulk."""
    for id_ in ids:
        await _pool.enqueue_job("verify", id_)
