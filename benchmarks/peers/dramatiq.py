"""Dramatiq on Redis: threads in two processes."""

from collections.abc import Sequence

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.peers import work

broker = RedisBroker(url=work.REDIS_URL)
dramatiq.set_broker(broker)


@dramatiq.actor
def verify(id_: int) -> None:
    work.run(id_)


def enqueue_one(id_: int) -> None:
    verify.send(id_)


def enqueue_many(ids: Sequence[int]) -> None:
    """It has no bulk."""
    for id_ in ids:
        verify.send(id_)
