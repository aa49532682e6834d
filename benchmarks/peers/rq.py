"""RQ on Redis: a process for each job under way. Its workers run jobs without a fork, which is its faster way."""

from collections.abc import Sequence

from redis import Redis
from rq import Queue

from benchmarks.peers import work

queue = Queue(connection=Redis.from_url(work.REDIS_URL))


def verify(id_: int) -> None:
    work.run(id_)


def enqueue_one(id_: int) -> None:
    queue.enqueue(verify, id_, result_ttl=0)


def enqueue_many(ids: Sequence[int]) -> None:
    queue.enqueue_many([Queue.prepare_data(verify, (id_,), result_ttl=0) for id_ in ids])
