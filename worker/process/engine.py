"""Runs jobs: one event loop for a process, in which every `act` lives.

Celery brings a hint (the ids of some jobs); the loop claims as many as there is room for, acts on all of them
at once, each under its own deadline, and finishes them. Hundreds of calls are in flight for the price of one process.
Hints beyond the room are given back: the rows stay where fairness and priority are decided.
"""

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4

import structlog
import uvloop

from worker import spans, window
from worker.database import Database
from worker.job import Job, Kind, Surroundings
from worker.ledger import Held
from worker.process.lane import Lane
from worker.process.room import Room
from worker.process.run import Run
from worker.process.trace import where
from worker.process.transactions import Transactions
from worker.traces import traceparent
from worker.verdict import judge, last_word

_log = structlog.get_logger(__name__)
_Result = TypeVar("_Result")

_TRANSACTIONS_AT_ONCE = 2
"""Claims and finishes that one process has open: more would only make smaller batches."""


_ANSWERS_WITHIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of one hint: jobs it named, and those of them that this process claimed."""

    hinted: int
    claimed: int


class Engine:
    """One a process. Any thread may call what has no underscore; the rest happens in the loop's thread."""

    def __init__(self, database: Database, surroundings: Surroundings, *, on_room: Callable[[], None]) -> None:
        settings = surroundings.settings
        self.room = Room(settings.calls_in_flight)
        self.metrics = surroundings.metrics
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:6]}"
        self._database = database
        self._surroundings = surroundings
        self._on_room = on_room
        self._executor = ThreadPoolExecutor(_TRANSACTIONS_AT_ONCE, thread_name_prefix="transactions")
        self._runs: dict[UUID, Run] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._lanes: dict[str, Lane] = {}
        self._opening = asyncio.Lock()
        self._resources = AsyncExitStack()
        self.is_stopping = False
        self.heard_at = time.monotonic()
        """When a hint was last dealt with."""

        self._loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()  # a sixth less CPU a job than asyncio's
        self._thread = threading.Thread(target=self._loop.run_forever, name="engine", daemon=True)
        self._thread.start()

    def begin(self, kind: Kind, ids: Sequence[UUID]) -> Summary:
        """Claim those of the hinted jobs that are due and free, and let them run.

        Returns when each is claimed, refused or given back; it does not wait for their ends. A thread that waited for
        a whole hint would be held by its slowest job while places stand empty: eight calls that time out would stop a
        worker of eight threads.
        """
        return asyncio.run_coroutine_threadsafe(self._begin(kind, ids), self._loop).result()

    def hand_over(self, kind: Kind, ids: Sequence[UUID], dealt_with: Callable[[], None]) -> None:
        """As `begin`, but without waiting. The loop calls `dealt_with` when each has a place or was given back; until
        then the hint is more than this process has room for."""
        self._loop.call_soon_threadsafe(self._take_over, kind, ids, dealt_with)

    def drain(self) -> None:
        """Wait until everything that was begun has ended."""
        asyncio.run_coroutine_threadsafe(self._drain(), self._loop).result()

    def running(self) -> list[Job]:
        """The jobs this process holds leases for."""
        return [run.job for run in list(self._runs.values())]

    def is_held_up(self) -> bool:
        """Whether the loop has no time to answer because of jobs that are within their own."""
        try:
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop).result(timeout=_ANSWERS_WITHIN_S)
        except TimeoutError:
            now = time.monotonic()
            return any(now < run.over_by for run in list(self._runs.values()))
        return False

    def tell(self, held: Sequence[Held]) -> None:
        """Pass on what a renewal found out: runs that were lost or cancelled stop."""
        self._loop.call_soon_threadsafe(self._stop_runs, held)

    def stop(self) -> None:
        """Claim nothing more; what runs may end. Waits for nothing, so that a signal handler may call it."""
        self.is_stopping = True
        self._surroundings.stopping.set()

    def close(self) -> None:
        """Let what runs come to its end, then let go of everything. No thread may be in `begin` any more."""
        self.stop()
        self.drain()
        asyncio.run_coroutine_threadsafe(self._resources.aclose(), self._loop).result(timeout=10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()
        self._executor.shutdown()

    def _take_over(self, kind: Kind, ids: Sequence[UUID], dealt_with: Callable[[], None]) -> None:
        def end(beginning: asyncio.Task[Summary]) -> None:
            if (error := beginning.exception()) is not None:
                _log.error("hint.failed", kind=kind.name, jobs=len(ids), error=type(error).__name__, where=where(error))
            if not placed.done():
                placed.set_result(None)

        placed = self._loop.create_future()
        placed.add_done_callback(lambda _: dealt_with())
        self._keep(self._begin(kind, ids, placed)).add_done_callback(end)

    def _keep(self, work: Coroutine[Any, Any, _Result]) -> asyncio.Task[_Result]:
        """Let it run: a loop by itself keeps only a weak reference, and `drain` wants to know."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _begin(self, kind: Kind, ids: Sequence[UUID], placed: asyncio.Future[None] | None = None) -> Summary:
        lane = await self._lane(kind)
        admitted = 0 if self.is_stopping else self.room.admit(len(ids))
        waiting, surplus = list(ids[:admitted]), list(ids[admitted:])
        if len(ids) > 1:
            self._on_room()  # of many jobs that were asked for at once, only the first are hinted at
        begun = 0
        while waiting:
            places = await self.room.take(len(waiting))
            taken, waiting = waiting[:places], waiting[places:]
            if placed is not None and not waiting and not surplus:
                placed.set_result(None)
            claimed = [] if self.is_stopping else await lane.claims.submit(taken)
            if self.is_stopping and not claimed:
                surplus += taken
            self.room.leave(places - len(claimed), worked=False)
            for job, inputs in claimed:
                self._keep(self._to_its_end(lane, Run(kind, job, inputs)))
            begun += len(claimed)
        if surplus:
            await self._give_back(surplus)
        self.heard_at = time.monotonic()
        return Summary(len(ids), begun)

    async def _to_its_end(self, lane: Lane, run: Run) -> None:
        self._runs[run.job.id] = run
        try:
            with spans.of_run(run.job) as span:
                if span is not None:
                    run.job = replace(run.job, trace_context=traceparent())  # what it asks for comes below its run
                await self._act_and_save(lane, run)
        finally:
            del self._runs[run.job.id]
            self.room.leave(1)
            self._on_room()

    async def _act_and_save(self, lane: Lane, run: Run) -> None:
        began = self._loop.time()
        with spans.span("act"):
            finished = await run.to_its_end(lane.resource)
        self.metrics.took(run.job.kind, "act", self._loop.time() - began)
        if finished is None:
            self.metrics.lost(run.job.kind)
            return
        with spans.span("save") as span:
            if span is not None:
                span.set_attribute("job.outcome", judge(run.job, last_word(run.job, finished.outcome)).outcome)
            await lane.finishes.submit(finished)

    async def _drain(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _lane(self, kind: Kind) -> Lane:
        if (lane := self._lanes.get(kind.name)) is not None:
            return lane
        async with self._opening:
            if kind.name not in self._lanes:
                settings = self._surroundings.settings
                lease = timedelta(seconds=settings.lease_s)
                transactions = Transactions(
                    kind, self._database, self._executor, self.metrics, owner=self.owner, lease=lease
                )
                resource = kind.opens and await self._resources.enter_async_context(kind.opens(self._surroundings))
                self._lanes[kind.name] = Lane(
                    transactions, resource, settings, self.room, at_once=_TRANSACTIONS_AT_ONCE
                )
        return self._lanes[kind.name]

    async def _give_back(self, ids: Sequence[UUID]) -> None:
        def transaction() -> None:
            with self._database.transaction() as connection:
                window.give_back(connection, ids)

        try:
            await self._loop.run_in_executor(self._executor, transaction)
        except Exception as error:  # noqa: BLE001 - without it they are hinted again a little later
            _log.warning("hints.not_given_back", jobs=len(ids), error=type(error).__name__)

    def _stop_runs(self, held: Sequence[Held]) -> None:
        for news in held:
            if (run := self._runs.get(news.id)) is None:
                continue
            if not news.is_ours:
                _log.warning("lease.lost", job=str(news.id))
                run.lose()
            elif news.is_cancelled:
                run.cancel()
