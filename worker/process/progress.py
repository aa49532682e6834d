"""Whether hints still arrive here: alive is who comes forward, not who answers.

A worker that has room while jobs of its queues are due, and hears of none for `stuck_after_s`, is deaf: its connection
to the broker is dead in a way that nobody has noticed, or Celery's loop hangs. What is not its fault counts for
nothing: no room, jobs that take their time, paused, future, locked or unknown jobs, a database or broker that is away.
"""

import time
from collections.abc import Collection, Sequence
from datetime import timedelta

from worker import window
from worker.database import DATABASE_ERRORS, Database
from worker.hints import Hints
from worker.process.engine import Engine

DUE_FOR = timedelta(seconds=10)
"""Twice the time after which a hint that was lost is sent again."""


class Progress:
    """Of one process. `look` is to be called every few seconds, always by the same thread."""

    def __init__(
        self,
        database: Database,
        hints: Hints,
        engine: Engine,
        *,
        queues: Sequence[str],
        kinds: Collection[str],
        stuck_after_s: float,
    ) -> None:
        self._database = database
        self._hints = hints
        self._engine = engine
        self._queues = queues
        self._kinds = list(kinds)
        self._stuck_after_s = stuck_after_s
        self._looked_at = self._well_at = time.monotonic()

    @property
    def complaint(self) -> str | None:
        """What is wrong, or None."""
        deaf_s = self._looked_at - self._well_at
        if deaf_s < self._stuck_after_s:
            return None
        return f"jobs are due, there is room for them, and no hint has arrived for {deaf_s:.0f} s"

    def look(self, now: float) -> None:
        """`now` is the time of `time.monotonic`."""
        before, self._looked_at = self._looked_at, now
        if self._engine.heard_at >= before or self._is_excused():
            self._well_at = now

    def _is_excused(self) -> bool:
        if self._engine.is_stopping or self._engine.room.wanted <= 0 or self._engine.is_held_up():
            return True
        try:
            with self._database.transaction() as connection:
                if not any(window.is_due(connection, queue, self._kinds, DUE_FOR) for queue in self._queues):
                    return True
        except DATABASE_ERRORS:
            return True
        return any(self._hints.depth(queue) is None for queue in self._queues)
