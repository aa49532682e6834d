"""What a kind of maintenance is declared with, and the resource its `act` is given."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Connection, text

from worker.audit import Deed, audit_all
from worker.database import DATABASE_ERRORS, Database, is_outage
from worker.errors import LeaseLost
from worker.job import Finished, Job, Kind, Surroundings, declared
from worker.maintenance.order import Order, Planner
from worker.maintenance.run import Run
from worker.maintenance.stages import Tally
from worker.outcomes import Cancelled, Done, Expired, GiveUp, Outcome, Retry, Snooze

_CONNECTIONS = 3  # the lock, the batches, and the progress of a dry run


def load(connection: Connection, jobs: Sequence[Job]) -> Mapping[UUID, Order]:
    rows = connection.execute(_PROGRESS, {"ids": [job.id for job in jobs]})
    progress = {row.id: row.progress for row in rows}
    return {job.id: Order(job, progress[job.id]) for job in jobs}


def save(connection: Connection, finished: Sequence[Finished]) -> None:
    """A row of the audit trail for each run that is over, with its counts."""
    over = [run for run in finished if isinstance(run.outcome, Done | GiveUp | Cancelled | Expired)]
    rows = connection.execute(_PROGRESS, {"ids": [run.job.id for run in over]})
    progress: dict[UUID, dict[str, Any]] = {row.id: row.progress or {} for row in rows}
    audit_all(
        connection,
        [
            Deed(
                run.job.kind,
                "job",
                run.job.id,
                details={"ended": type(run.outcome).__name__.lower(), **progress[run.job.id]},
                alerts=[
                    problem["code"]
                    for list_ in ("problems", "alarms")
                    for problem in progress[run.job.id].get(list_, ())
                ],
            )
            for run in over
        ],
    )


@asynccontextmanager
async def opens(surroundings: Surroundings) -> AsyncIterator["Maintenance"]:
    with ThreadPoolExecutor(thread_name_prefix="maintenance") as executor:
        yield Maintenance(surroundings, executor)


def maintenance_kinds() -> dict[str, Kind]:
    """The declared kinds that are maintenance, by name."""
    return {name: kind for name, kind in declared().items() if kind.opens is opens}


class Maintenance:
    """The resource of a maintenance job: runs batches in a thread, on connections of its own."""

    def __init__(self, surroundings: Surroundings, executor: ThreadPoolExecutor) -> None:
        self.keyring = surroundings.keyring
        self._settings = surroundings.settings.model_copy(update={"database_pool_size": _CONNECTIONS})
        self._stopping = surroundings.stopping
        self._executor = executor

    async def run(self, order: Order, planner: Planner, *, time_box: timedelta) -> Outcome[Tally]:
        """Do what `planner` plans until it is done, or `time_box` is over, or somebody wants the run to stop."""
        ended = threading.Event()
        work = asyncio.get_running_loop().run_in_executor(
            self._executor, lambda: self._in_thread(order, planner, time_box, ended)
        )
        try:
            return await work
        finally:
            ended.set()  # cancelled from outside: the thread ends after the batch it is at, which can't be interrupted

    def _in_thread(self, order: Order, planner: Planner, time_box: timedelta, ended: threading.Event) -> Outcome[Tally]:
        database = Database(self._settings)
        try:
            with _only_run(database, order.job.kind) as is_only:
                if not is_only:
                    return Snooze(f"another {order.job.kind}", timedelta(seconds=30))
                run = Run(database, order, planner, time_box, lambda: ended.is_set() or self._stopping.is_set())
                return run.to_its_end()
        except LeaseLost:
            return Snooze("its new owner", timedelta(0))  # nobody will hear: the engine drops what lost its lease
        except DATABASE_ERRORS as error:
            if not is_outage(error):
                raise
            return Retry("database_away", timedelta(seconds=10), type(error).__name__)
        finally:
            database.close()


@contextmanager
def _only_run(database: Database, kind: str) -> Iterator[bool]:
    """Holds the lock of the kind for as long as the connection lives; gives whether it was free."""
    with database.engine.connect() as connection:
        held = connection.execution_options(isolation_level="AUTOCOMMIT")
        yield cast("bool", held.execute(_LOCK, {"kind": kind}).scalar_one())


_LOCK = text("SELECT pg_try_advisory_lock(hashtextextended('maintenance ' || :kind, 0))")
_PROGRESS = text("SELECT id, progress FROM job WHERE id = ANY(CAST(:ids AS uuid[]))")
