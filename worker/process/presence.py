"""Who is at work: each process says so in a row of its own, as often as it renews its leases.

A row that has not been renewed for a while belongs to a process that died or lost the database. Nothing of the
machine's work depends on these rows; they answer an operator's question, so failing to write one is only logged.
"""

import os
import socket
from collections.abc import Sequence
from datetime import timedelta

import structlog
from sqlalchemy import text

from worker.database import DATABASE_ERRORS, Database
from worker.process.engine import Engine

_log = structlog.get_logger(__name__)

AT_WORK_FOR = timedelta(seconds=30)
"""A process seen this recently is at work: three renewals, and the lease its jobs have by default."""


class Presence:
    """The row of this process."""

    def __init__(self, database: Database, engine: Engine, queues: Sequence[str], *, calls_in_flight: int) -> None:
        self._database = database
        self._engine = engine
        self._queues = list(queues)
        self._calls_in_flight = calls_in_flight

    def end(self) -> None:
        """Say from the next renewal on that no queue is listened to. Safe in a signal handler."""
        self._queues = []

    def renew(self) -> None:
        """Say that this process is here, and forget those that have not been seen for an hour."""
        row = {
            "owner": self._engine.owner,
            "queues": self._queues,
            "hostname": socket.gethostname(),
            "pid": os.getpid(),
            "in_flight": len(self._engine.running()),
            "calls_in_flight": self._calls_in_flight,
        }
        try:
            with self._database.transaction() as connection:
                connection.execute(_HERE, row)
                connection.execute(_FORGET)
        except DATABASE_ERRORS as error:
            _log.warning("presence.not_renewed", error=type(error).__name__)

    def remove(self) -> None:
        """Say goodbye at a clean end."""
        try:
            with self._database.transaction() as connection:
                connection.execute(_GONE, {"owner": self._engine.owner})
        except DATABASE_ERRORS as error:
            _log.warning("presence.not_removed", error=type(error).__name__)


_HERE = text(
    """
    INSERT INTO worker_process (owner, queues, hostname, pid, in_flight, calls_in_flight)
    VALUES (:owner, :queues, :hostname, :pid, :in_flight, :calls_in_flight)
    ON CONFLICT (owner) DO UPDATE SET
        queues = excluded.queues, in_flight = excluded.in_flight, calls_in_flight = excluded.calls_in_flight,
        seen_at = now()
    """
)

# Whoever another process is forgetting at this moment need not be forgotten twice.
_FORGET = text(
    """
    DELETE FROM worker_process WHERE owner IN (
        SELECT owner FROM worker_process WHERE seen_at < now() - interval '1 hour' FOR UPDATE SKIP LOCKED
    )
    """
)

_GONE = text("DELETE FROM worker_process WHERE owner = :owner")
