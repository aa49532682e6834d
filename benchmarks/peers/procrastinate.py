"""Procrastinate: jobs are rows of the same database, workers are told of new ones by NOTIFY."""

from collections.abc import Sequence

from procrastinate import App, PsycopgConnector

from benchmarks.peers import work

app = App(connector=PsycopgConnector(conninfo=work.DATABASE_URL, min_size=4, max_size=work.CONNECTIONS))


@app.task(name="verify")
async def verify(id_: int) -> None:
    await work.run_async(id_)


async def start() -> None:
    await app.open_async()


async def enqueue_one(id_: int) -> None:
    await verify.defer_async(id_=id_)


async def enqueue_many(ids: Sequence[int]) -> None:
    await verify.batch_defer_async(*({"id_": id_} for id_ in ids))
