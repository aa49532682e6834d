"""What a long poll waits on: that a job is over.

One statement asks for all that is waited for, a few times a second; whoever waits holds neither a thread nor a
connection. So a thousand waiting clients cost the database what one does.
"""

import asyncio
from collections.abc import Collection
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from worker.database import Database

LOOK_EVERY_S = 0.25


class Waiting:
    """For one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiters: dict[UUID, set[asyncio.Future[None]]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def until_over(self, job_id: UUID, seconds: float) -> None:
        """Return once the job is over or gone, or after so many seconds."""
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(job_id, set()).add(over)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            await asyncio.wait([over], timeout=seconds)
        finally:
            self._waiters[job_id].discard(over)
            if not self._waiters[job_id]:
                del self._waiters[job_id]

    async def _look(self) -> None:
        while self._waiters:
            try:
                ended = await run_in_threadpool(self._over, list(self._waiters))
            except SQLAlchemyError:
                ended = []  # whoever waits reads the job at the end, and is told then that the database is away
            for job_id in ended:
                for over in self._waiters.get(job_id, ()):
                    if not over.done():
                        over.set_result(None)
            await asyncio.sleep(LOOK_EVERY_S)

    def _over(self, job_ids: Collection[UUID]) -> list[UUID]:
        with self._database.transaction() as connection:
            return list(connection.scalars(_OVER, {"ids": job_ids}))


_OVER = text(
    """
    SELECT id FROM unnest(CAST(:ids AS uuid[])) AS waited_for (id)
    WHERE NOT EXISTS (SELECT FROM job WHERE job.id = waited_for.id AND state IN ('ready', 'running'))
    """
)
