"""Beat's scheduler: puts each slot of the clock into the ledger, once, however many beats run.

A slot is a job with `scheduled_for`, unique for its kind. The last slot is read from the ledger too, so there is no
state file, and a beat that was away catches up by the entry's own policy.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from celery.beat import Scheduler
from sqlalchemy import text

from beat_schedule import ENTRIES, Entry, Fill
from worker.clock import due_slots, next_slot
from worker.database import DATABASE_ERRORS, Database
from worker.enqueue import Enqueued, enqueue
from worker.job import declared
from worker.settings import load_settings

_log = structlog.get_logger(__name__)

_ON_TIME = timedelta(minutes=1)
"""A slot that is no older than this was not missed."""


class LedgerScheduler(Scheduler):  # type: ignore[misc]  # Celery ships no types
    """Takes the place of Celery's own scheduler: `celery -A worker.app beat` finds it in the configuration."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._database = Database(load_settings())
        self._seen_since = datetime.now(UTC)
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Nothing to install: the clock is `beat_schedule.ENTRIES`."""

    def tick(self, *_: Any, **__: Any) -> float:
        """Enqueue what is due; gives the seconds until it is worth looking again."""
        try:
            now, last = self._last_slots()
            for entry in ENTRIES:
                since = last.get(entry.kind, self._seen_since)
                most = entry.missed.most if isinstance(entry.missed, Fill) else 1
                on_time = _ON_TIME if entry.missed == "skip" else None
                for slot in due_slots(entry.schedule, last=since, now=now, most=most, on_time=on_time):
                    self._enqueue(entry, slot)
        except DATABASE_ERRORS as error:
            _log.warning("clock.database_away", error=type(error).__name__)
            return float(self.max_interval)
        coming = min(next_slot(entry.schedule, now) for entry in ENTRIES)
        return min(float(self.max_interval), max(0.1, (coming - now).total_seconds()))

    def close(self) -> None:
        self._database.close()

    def _last_slots(self) -> tuple[datetime, Mapping[str, datetime]]:
        """The database's time, and the last slot of each kind that is in the ledger."""
        with self._database.transaction() as connection:
            now: datetime = connection.execute(text("SELECT now()")).scalar_one()
            rows = connection.execute(
                text(
                    "SELECT kind, max(scheduled_for) FROM job"
                    " WHERE scheduled_for IS NOT NULL AND kind = ANY(:kinds) GROUP BY kind"
                ),
                {"kinds": [entry.kind for entry in ENTRIES]},
            )
            return now, dict(rows.all())

    def _enqueue(self, entry: Entry, slot: datetime) -> None:
        kind = declared()[entry.kind]
        with self._database.transaction() as connection:
            enqueued: Enqueued = enqueue(connection, kind, entry.args, scheduled_for=slot)
        if enqueued.is_new:
            _log.info("clock.slot", kind=entry.kind, slot=slot.isoformat(), job=str(enqueued.job_id))
