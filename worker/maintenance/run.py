"""One run of maintenance, from its plan to its outcome: when to commit, to rest, to try again and to stop."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import orjson
import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from worker.database import DATABASE_ERRORS, Database, sqlstate
from worker.errors import LeaseLost
from worker.maintenance.order import Order, Planner
from worker.maintenance.stages import Batch, Problem, Stage, Tally, next_limit, taken_up
from worker.outcomes import Cancelled, Done, GiveUp, Outcome, Retry, Snooze

_log = structlog.get_logger(__name__)

_TRIES = 5
_FIRST = 1000  # rows of a first batch: nobody knows yet how long they take
_CONTENTION = ("55P03", "40P01", "40001")  # lock timeout, deadlock, serialization
_REST = 0.02
"""Of the time a batch took, how long the database is left alone after it."""


class Run:
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
        self._settings = _IMPATIENT

    def to_its_end(self) -> Outcome[Tally]:
        with self._transactions() as transaction:
            stages = self._plan(transaction)
            for number, stage in enumerate(stages):
                self._tally.stage = stage.name
                self._stage(stage, transaction)
                if self._is_cancelled:
                    return Cancelled()
                if self._must_stop():
                    return Snooze("a worker, for this one stops", timedelta(seconds=1))
                if self._is_over_time():
                    self._tally.unfinished += [later.name for later in stages[number:]]
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

    def _plan(self, transaction: "_Transaction") -> Sequence[Stage]:
        """The stages to go through."""
        with transaction() as connection:
            plan = self._planner(connection, self._order)
            self._tally.problems += plan.problems
            self._tally.alarms += plan.alarms
            self._note(connection)
        self._settings = _IMPATIENT if plan.waits_for_disk else _IMPATIENT_AND_UNFLUSHED
        stages = []
        # Counting takes a while in a large table: not within the transaction that has written the plan.
        with self._database.single_statements() as connection:
            for stage in plan.stages:
                size = stage.size(connection)
                if isinstance(size, Problem):
                    self._tally.problems.append(size)
                else:
                    self._tally.total += size
                    stages.append(stage)
        with transaction() as connection:
            self._note(connection)
        return stages

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
                connection.execute(self._settings)
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


_IMPATIENT = text("SET LOCAL lock_timeout = '2s'")
# What ends a run, here or in its engine, is a commit that waits for the disk, and takes all those before it there.
_IMPATIENT_AND_UNFLUSHED = text(
    "SELECT set_config('lock_timeout', '2s', true), set_config('synchronous_commit', 'off', true)"
)
_TELL = text(
    """
    UPDATE job SET progress = CAST(:progress AS jsonb)
    WHERE id = :id AND fence = :fence AND state = 'running'
    RETURNING cancel_requested_at IS NOT NULL AS is_cancelled
    """
)
