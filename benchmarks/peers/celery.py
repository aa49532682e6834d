"""Celery as people set it up: acknowledged late, so that a killed worker loses nothing; no results, prefetch 1."""

from collections.abc import Sequence

from celery import Celery

from benchmarks.peers import work

app = Celery("benchmark", broker=work.REDIS_URL)
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1, task_ignore_result=True)


@app.task(name="verify")
def verify(id_: int) -> None:
    work.run(id_)


def enqueue_one(id_: int) -> None:
    verify.delay(id_)


def enqueue_many(ids: Sequence[int]) -> None:
    """The batch of kombu 5.7: messages travel in pipelines."""
    with app.producer_pool.acquire(block=True) as producer, producer.batch(max_size=500):
        for id_ in ids:
            verify.apply_async((id_,), producer=producer)
