"""The two transactions of a run: claim with `load`, and finish with `save`, each for many jobs of one kind.

If a shared transaction fails because of one of its jobs, it is split in halves and tried again until only the guilty
job is left; that one ends as a bug and the others don't notice. If the database itself is away, the whole transaction
waits for it: an answer that was paid for is not thrown away because PostgreSQL restarts.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

import structlog
from sqlalchemy import text

from worker import ledger
from worker.database import DATABASE_ERRORS, Database, is_outage
from worker.job import Finished, Job, Kind
from worker.metrics import Metrics
from worker.outcomes import Cancelled, Expired, GiveUp, Outcome, Retry
from worker.process.trace import where
from worker.traces import shared
from worker.verdict import Verdict, judge, last_word

_log = structlog.get_logger(__name__)
_Result = TypeVar("_Result")

Claimed = tuple[Job, Any]
"""A claimed job with what `load` gave for it: the inputs of `act`, or the outcome that ends the run here."""


class Transactions:
    """Claims and finishes of one kind, run in threads of `executor` so that the event loop never waits for SQL."""

    def __init__(
        self, kind: Kind, database: Database, executor: Executor, metrics: Metrics, *, owner: str, lease: timedelta
    ) -> None:
        self._kind = kind
        self._database = database
        self._metrics = metrics
        self._executor = executor
        self._owner = owner
        self._lease = lease

    async def claim(self, ids: Sequence[UUID]) -> list[Claimed]:
        """Claim those of `ids` that are due and free, and load them."""
        try:
            return await self._in_thread(lambda: self._claim_and_load(ids))
        except Exception as error:  # noqa: BLE001 - load is a kind's own code; its bug must hit its own job only
            if is_outage(error):
                _log.warning("claim.postponed", jobs=len(ids), error=type(error).__name__)
                return []  # the rows are still there; they are hinted again
            if len(ids) == 1:
                return await self._claim_to_blame(ids, bug(self._kind, error))
            middle = len(ids) // 2
            return await self.claim(ids[:middle]) + await self.claim(ids[middle:])

    async def _claim_to_blame(self, ids: Sequence[UUID], blame: Outcome[Any]) -> list[Claimed]:
        try:
            return await self._in_thread(lambda: self._claim_only(ids, blame))
        except DATABASE_ERRORS as error:
            _log.warning("claim.postponed", jobs=len(ids), error=type(error).__name__)
            return []

    async def finish(self, finished: Sequence[Finished]) -> set[UUID]:
        """Write what came out. Gives the ids of the jobs that were still ours; the others' results are dropped."""
        runs = [Finished(run.job, run.inputs, last_word(run.job, run.outcome)) for run in finished]
        wait_s = 0.1
        while True:
            try:
                return await self._in_thread(lambda: self._finish_and_save(runs))
            except Exception as error:  # noqa: BLE001 - so is save
                if is_outage(error):
                    _log.warning("finish.waits_for_database", jobs=len(runs), error=type(error).__name__)
                    await asyncio.sleep(wait_s)
                    wait_s = min(2.0, wait_s * 2)
                    continue
                return await self._finish_apart(runs, error)

    async def _finish_apart(self, runs: list[Finished], error: Exception) -> set[UUID]:
        if len(runs) > 1:
            middle = len(runs) // 2
            return await self.finish(runs[:middle]) | await self.finish(runs[middle:])
        (run,) = runs
        blame = bug(self._kind, error, run.job.attempt)
        if not (isinstance(run.outcome, Retry | GiveUp) and run.outcome.code == blame.code):
            return await self.finish([Finished(run.job, run.inputs, blame)])
        # Even the bug's own outcome can't be saved: the ledger at least must know.
        return await self._in_thread(lambda: self._finish_only(run))

    def _claim_and_load(self, ids: Sequence[UUID]) -> list[Claimed]:
        began = time.monotonic()
        with self._database.transaction() as connection:
            jobs = ledger.claim(connection, ids, owner=self._owner, lease=self._lease)
            ended = {job.id: outcome for job in jobs if (outcome := ended_before_it_ran(job))}
            runnable = [job for job in jobs if job.id not in ended]
            inputs = self._kind.load(connection, runnable) if runnable else {}
        self._metrics.claimed(self._kind.name, [job.waited_s for job in jobs], time.monotonic() - began)
        return [(job, ended.get(job.id) or inputs[job.id]) for job in jobs]

    def _claim_only(self, ids: Sequence[UUID], outcome: Outcome[Any]) -> list[Claimed]:
        with self._database.transaction() as connection:
            jobs = ledger.claim(connection, ids, owner=self._owner, lease=self._lease)
        return [(job, outcome) for job in jobs]

    def _finish_and_save(self, runs: list[Finished]) -> set[UUID]:
        began = time.monotonic()
        verdicts = [(run.job, judge(run.job, run.outcome)) for run in runs]
        with self._database.transaction() as connection:
            # Where runs of several traces end together, whoever asks for more jobs has to say for whom.
            if (context := shared(run.job.trace_context for run in runs)) is not None:
                connection.execute(_TELL_TRACE, {"context": context})
            ours = ledger.finish(connection, verdicts)
            if kept := [run for run in runs if run.job.id in ours]:
                self._kind.save(connection, kept)
        self._count(verdicts, ours, began)
        return ours

    def _finish_only(self, run: Finished) -> set[UUID]:
        began = time.monotonic()
        verdicts = [(run.job, judge(run.job, run.outcome))]
        with self._database.transaction() as connection:
            ours = ledger.finish(connection, verdicts)
        self._count(verdicts, ours, began)
        return ours

    def _count(self, verdicts: Sequence[tuple[Job, Verdict]], ours: set[UUID], began: float) -> None:
        save_s = time.monotonic() - began
        ends = [(verdict.outcome, verdict.code) for job, verdict in verdicts if job.id in ours]
        self._metrics.ended(self._kind.name, ends, save_s)
        if lost := len(verdicts) - len(ours):
            self._metrics.lost(self._kind.name, lost)

    async def _in_thread(self, transaction: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._executor, transaction)


_TELL_TRACE = text("SELECT set_config('worker.traceparent', :context, true)")


def ended_before_it_ran(job: Job) -> Outcome[Any] | None:
    """Why a claimed job must not run, if so. It still goes through `save`, so that the domain's rows follow."""
    if job.is_cancelled:
        return Cancelled()
    if job.crashes >= ledger.DEATHS_BEFORE_QUARANTINE:
        return GiveUp("worker_died", f"{job.crashes} workers died while they ran it; it will not be run again.")
    if job.is_expired:
        return Expired()
    return None


def bug(kind: Kind, error: BaseException, attempt: int = 0) -> Retry[Any]:
    """The outcome of an exception nobody expected. Only its type is kept: its text may hold a person's data."""
    _log.error("job.bug", kind=kind.name, error=type(error).__name__, where=where(error))
    return Retry(
        "bug", kind.backoff(attempt), f"{type(error).__name__} at {where(error)}; this is a fault of the program."
    )
