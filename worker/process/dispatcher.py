"""Keeps the short window of hints filled, frees the jobs of dead workers, and sends lost hints again.

Every worker process has one; any number may run. It hints at no more jobs than its own process wants, so that the
backlog stays in PostgreSQL, where tenants take turns and priority counts. An advisory lock lets one process at a time
fill a queue. A message that is lost (Redis flushed, a worker killed with hints in hand) is missed after a few seconds
and replaced; one too many costs a refused claim.
"""

import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby, islice

import structlog
from sqlalchemy import text

from worker import ledger, window
from worker.clock.entries import rounds
from worker.database import DATABASE_ERRORS, Database
from worker.hints import MESSAGE_MAX, Hints
from worker.process.room import Room
from worker.process.vital import VitalThread
from worker.settings import Settings
from worker.window import Due

_log = structlog.get_logger(__name__)

_SHORTEST_PAUSE_S = 0.05
_CALM_FOR_S = 0.2
"""Where as many messages wait as jobs are wanted, or fewer jobs are due than are wanted, another look finds nothing new
so soon, however much room there is."""
_PICK_MAX = 1000
_MESSAGES_A_FILL = 4
_SHARED_FROM = 20
"""Jobs that go in one message: sharing fewer among processes gains less than another message costs."""
_RESCUE_MAX = 1000

_SETTLED_FOR = timedelta(milliseconds=200)
"""A job younger than this is left to the hint that its own enqueue sends."""

_LOST_IF_QUEUE_EMPTY = timedelta(seconds=5)
_LOST_AT_LAST = timedelta(seconds=60)


class Dispatcher:
    """A thread. `wake` says that there is room; without it the thread looks as often as `beat_schedule.py` says."""

    def __init__(self, settings: Settings, database: Database, hints: Hints, room: Room, queues: Sequence[str]) -> None:
        every_s = rounds()
        self._look_every_s, self._rescue_every_s = every_s["dispatcher"], every_s["rescue"]
        self._renewal_s = settings.renew_every_s
        self._database = database
        self._hints = hints
        self._room = room
        self._queues = queues
        self._calm_until = dict.fromkeys(queues, 0.0)
        self._no_rescue_before = 0.0
        self._has_room = threading.Event()
        self._is_stopping = False
        self.thread = VitalThread("dispatcher", self._loop)

    def start(self) -> None:
        self.thread.start()

    def wake(self) -> None:
        """There is room for more jobs; called often, so it does next to nothing."""
        if self._room.wants_a_message:
            self._has_room.set()

    def stop(self) -> None:
        """Hint at nothing more. Waits for nothing, so that a signal handler may call it."""
        self._is_stopping = True
        self._has_room.set()

    def close(self) -> None:
        """Stop, and wait for the round that is under way."""
        self.stop()
        if self.thread.is_alive():
            self.thread.join(timeout=10)

    def _loop(self) -> None:
        next_round = next_rescue = 0.0
        while not self._is_stopping:
            self._has_room.clear()
            try:
                if time.monotonic() >= next_rescue:
                    next_rescue = time.monotonic() + self._rescue_every_s
                    self._rescue()
                if time.monotonic() >= next_round:
                    next_round = time.monotonic() + self._look_every_s
                    self._room.forget_promises()
                for queue in self._queues:
                    self._fill(queue)
            except DATABASE_ERRORS as error:
                _log.warning("dispatch.database_away", error=type(error).__name__)
                # Workers that were cut off renew their leases first, before anybody calls them dead.
                self._no_rescue_before = time.monotonic() + self._renewal_s * 1.5
                time.sleep(self._look_every_s)
            self.thread.made_round()
            time.sleep(_SHORTEST_PAUSE_S)
            self._has_room.wait(max(0.0, min(next_round, next_rescue) - time.monotonic()))

    def _rescue(self) -> None:
        if time.monotonic() < self._no_rescue_before:
            return
        with self._database.transaction() as connection:
            rescued = ledger.rescue(connection, limit=_RESCUE_MAX)
        if rescued:
            _log.warning("jobs.rescued", jobs=rescued)

    def _fill(self, queue: str) -> None:
        wanted = min(self._room.wanted, _PICK_MAX)
        if wanted <= 0 or time.monotonic() < self._calm_until[queue] or (depth := self._hints.depth(queue)) is None:
            return
        if depth >= wanted:
            self._calm_until[queue] = time.monotonic() + _CALM_FOR_S
            return
        with self._database.transaction() as connection:
            if not connection.execute(_TRY_LOCK, {"queue": queue}).scalar_one():
                return  # another process is filling this queue at this moment
            due = window.pick(
                connection,
                queue,
                limit=wanted - depth,
                settled_for=_SETTLED_FOR,
                lost_after=_LOST_AT_LAST if depth else _LOST_IF_QUEUE_EMPTY,
            )
        if len(due) < wanted - depth:
            self._calm_until[queue] = time.monotonic() + _CALM_FOR_S
        self._send(queue, due)

    def _send(self, queue: str, due: Sequence[Due]) -> None:
        # A few messages rather than one, so that several processes can share what is there.
        size = min(MESSAGE_MAX, max(_SHARED_FROM, -(-len(due) // _MESSAGES_A_FILL)))
        for kind, group in groupby(due, key=lambda job: job.kind):
            while ids := [job.id for job in islice(group, size)]:
                if not self._hints.send(queue, kind, ids):
                    return  # they are hinted again when the broker is back
                self._room.promise(len(ids))


_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtext('dispatch'), hashtext(:queue))")
