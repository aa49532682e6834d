"""Maintenance: a job that changes many rows, in bounded batches with a commit after each.

    @job("retention.sweep", queue="maintenance", deadline_s=3600, load=maintenance.load, save=maintenance.save,
         opens=maintenance.opens)
    async def sweep(order: Order, maintenance: Maintenance) -> Outcome[Tally]:
        return await maintenance.run(order, store.plan, time_box=timedelta(minutes=50))

It takes two arguments: `dry_run`, and `confirm` for what it would else refuse.

- Each batch writes the job's progress in its own transaction, and only while the job is its own: a run that lost its
  lease or was cancelled changes nothing more.
- One run of a kind at a time, by an advisory lock; a second one waits as a snoozed job.
- A run that is killed, or told to stop with its worker, is taken up by the next attempt: what is done is done, and the
  stages find the rest by themselves. One whose time is up ends, and the next night goes on.
- A dry run is the real one in a single transaction that is rolled back, so its numbers are the real ones. It holds the
  locks of what it would change until its end.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

import orjson
import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from worker.audit import Deed, audit_all
from worker.database import DATABASE_ERRORS, Database, is_outage, sqlstate
from worker.errors import LeaseLost
from worker.job import Finished, Job, Kind, Surroundings, declared
from worker.outcomes import Cancelled, Done, Expired, GiveUp, Outcome, Retry, Snooze
from worker.stages import Batch, Plan, Problem, Stage, Tally, next_limit, taken_up

_log = structlog.get_logger(__name__)

_CONNECTIONS = 3  # the lock, the batches, and the progress of a dry run
_TRIES = 5
_FIRST = 1000  # rows of a first batch: nobody knows yet how long they take
_CONTENTION = ("55P03", "40P01", "40001")  # lock timeout, deadlock, serialization
_REST = 0.02
"""Of the time a batch took, how long the database is left alone after it."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a run is asked for: the inputs of `act`. `progress` is what earlier attempts of the job left."""

    job: Job
    progress: Mapping[str, Any] | None

    @property
    def is_dry_run(self) -> bool:
        return bool(self.job.args.get("dry_run"))

    @property
    def is_confirmed(self) -> bool:
        """Whether a person has seen what the guards refuse, and wants it done."""
        return bool(self.job.args.get("confirm"))


Planner = Callable[[Connection, Order], Plan]


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
                run = _Run(database, order, planner, time_box, lambda: ended.is_set() or self._stopping.is_set())
                return run.to_its_end()
        except LeaseLost:
            return Snooze("its new owner", timedelta(0))  # nobody will hear: the engine drops what lost its lease
        except DATABASE_ERRORS as error:
            if not is_outage(error):
                raise
            return Retry("database_away", timedelta(seconds=10), type(error).__name__)
        finally:
            database.close()


class _Run:
    def __init__(
        self,
        database: Database,
        order: Order,
        planner: Planner,
        time_box: timedelta,
        must_stop: Callable[[], bool],
    ) -> None:
        self._database = database
        self._job = order.job
        self._order = order
        self._planner = planner
        self._ends_at = time.monotonic() + time_box.total_seconds()
        self._must_stop = must_stop
        self._tally = taken_up(order.progress, is_dry_run=order.is_dry_run)
        self._is_cancelled = False

    def to_its_end(self) -> Outcome[Tally]:
        with self._transactions() as transaction:
            plan = self._plan(transaction)
            for number, stage in enumerate(plan.stages):
                self._tally.stage = stage.name
                self._stage(stage, transaction)
                if self._is_cancelled:
                    return Cancelled()
                if self._must_stop():
                    return Snooze("a worker, for this one stops", timedelta(seconds=1))
                if self._is_over_time():
                    self._tally.unfinished += [later.name for later in plan.stages[number:]]
                    break
        self._tally.stage = None
        with self._database.transaction() as connection:
            self._tell(connection)
        _log.info("maintenance.ended", kind=self._job.kind, job=str(self._job.id), rows=self._tally.done)
        return self._outcome()

    def _outcome(self) -> Outcome[Tally]:
        problems = self._tally.problems
        for problem in [*problems, *self._tally.alarms]:
            _log.warning("maintenance.problem", kind=self._job.kind, code=problem.code, problem=problem.message)
        messages = " ".join(problem.message for problem in problems)
        if any(problem.code == "locked" for problem in problems):
            return Retry("locked", timedelta(minutes=5), messages, self._tally)
        if problems:
            return GiveUp(problems[0].code, messages, self._tally)
        return Done(self._tally)

    def _plan(self, transaction: "_Transaction") -> Plan:
        with transaction() as connection:
            plan = self._planner(connection, self._order)
            self._tally.problems += plan.problems
            self._tally.alarms += plan.alarms
            self._tally.total += sum(stage.size(connection) for stage in plan.stages)
            self._note(connection)
        return plan

    def _stage(self, stage: Stage, transaction: "_Transaction") -> None:
        after, limit, tries = None, min(stage.most, _FIRST), 0
        while not (self._is_cancelled or self._must_stop() or self._is_over_time()):
            began = time.monotonic()
            try:
                batch = self._batch(stage, transaction, after, limit)
            except DBAPIError as error:
                if sqlstate(error) not in _CONTENTION:
                    raise
                tries += 1
                if tries == _TRIES:
                    self._tally.problems.append(
                        Problem("locked", f"{stage.name} was in use by others, five times in a row.")
                    )
                    return
                time.sleep(0.1 * 2**tries)
                continue
            if batch.after is None:
                return
            took_s = time.monotonic() - began
            after, limit, tries = batch.after, next_limit(limit, stage.most, took_s), 0
            time.sleep(_REST * took_s)

    def _batch(self, stage: Stage, transaction: "_Transaction", after: Any, limit: int) -> Batch:
        before = deepcopy(self._tally)
        try:
            with transaction() as connection:
                connection.execute(_IMPATIENT)
                batch = stage.batch(connection, after, limit)
                self._tally.add(stage.name, batch)
                self._note(connection)
        except DATABASE_ERRORS:
            self._tally = before
            raise
        return batch

    def _note(self, connection: Connection) -> None:
        """Write the progress with the batch it tells of; that of a dry run would be rolled back, so it goes alone."""
        if not self._order.is_dry_run:
            self._tell(connection)
            return
        with self._database.transaction() as other:
            self._tell(other)

    def _tell(self, connection: Connection) -> None:
        # Last in its transaction, so that the renewal of the lease finds the row free.
        row = connection.execute(
            _TELL,
            {"id": self._job.id, "fence": self._job.fence, "progress": orjson.dumps(asdict(self._tally)).decode()},
        ).one_or_none()
        if row is None:
            raise LeaseLost
        self._is_cancelled = row.is_cancelled

    def _is_over_time(self) -> bool:
        return time.monotonic() >= self._ends_at

    @contextmanager
    def _transactions(self) -> Iterator["_Transaction"]:
        if not self._order.is_dry_run:
            yield self._database.transaction
            return
        with self._database.engine.connect() as connection, connection.begin() as whole:

            @contextmanager
            def part() -> Iterator[Connection]:
                with connection.begin_nested():
                    yield connection

            yield part
            whole.rollback()


_Transaction = Callable[[], AbstractContextManager[Connection]]


@contextmanager
def _only_run(database: Database, kind: str) -> Iterator[bool]:
    """Holds the lock of the kind for as long as the connection lives; gives whether it was free."""
    with database.engine.connect() as connection:
        held = connection.execution_options(isolation_level="AUTOCOMMIT")
        yield cast("bool", held.execute(_LOCK, {"kind": kind}).scalar_one())


_LOCK = text("SELECT pg_try_advisory_lock(hashtextextended('maintenance ' || :kind, 0))")
_IMPATIENT = text("SET LOCAL lock_timeout = '2s'")
_PROGRESS = text("SELECT id, progress FROM job WHERE id = ANY(CAST(:ids AS uuid[]))")
_TELL = text(
    """
    UPDATE job SET progress = CAST(:progress AS jsonb)
    WHERE id = :id AND fence = :fence AND state = 'running'
    RETURNING cancel_requested_at IS NOT NULL AS is_cancelled
    """
)
