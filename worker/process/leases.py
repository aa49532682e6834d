"""Renews the leases of this process's jobs, and its presence, from a thread that no job can block.

One statement for all of them. What it finds out goes back to the engine: a job that was lost or cancelled stops.
"""

import threading
from datetime import timedelta

import structlog

from worker import ledger
from worker.database import DATABASE_ERRORS, Database
from worker.process.engine import Engine
from worker.process.presence import Presence
from worker.process.vital import VitalThread
from worker.settings import Settings

_log = structlog.get_logger(__name__)


class LeaseRenewal:
    """A thread; it lives as long as the engine."""

    def __init__(self, settings: Settings, database: Database, engine: Engine, presence: Presence) -> None:
        self._every_s = settings.renew_every_s
        self._lease = timedelta(seconds=settings.lease_s)
        self._database = database
        self._engine = engine
        self._presence = presence
        self._end = threading.Event()
        self.thread = VitalThread("leases", self._loop)

    def start(self) -> None:
        self.thread.start()

    def close(self) -> None:
        self._end.set()
        self.thread.join(timeout=10)

    def _loop(self) -> None:
        self._presence.renew()
        pause_s = self._every_s
        while not self._end.wait(pause_s):
            pause_s = self._every_s if self._renew() else min(1.0, self._every_s)
            self.thread.made_round()
            self._presence.renew()  # after the leases, which must not wait for it
        self._presence.remove()

    def _renew(self) -> bool:
        """Whether the leases are safe for another while."""
        if not (jobs := self._engine.running()):
            return True
        try:
            with self._database.transaction() as connection:
                held = ledger.renew(connection, jobs, lease=self._lease)
        except DATABASE_ERRORS as error:
            _log.warning("leases.database_away", jobs=len(jobs), error=type(error).__name__)
            return False
        self._engine.tell(held)
        return True
