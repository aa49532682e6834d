"""Beat's scheduler: puts each slot of the clock into the ledger, once, however many beats run.

A slot is a job with `scheduled_for`, unique for its entry. How far each entry is decided stands in PostgreSQL too, so
there is no state file, and a beat that was away catches up by the entry's own policy.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from celery.beat import Scheduler

from worker.clock import slots
from worker.clock.entries import Line, lines
from worker.clock.health import BeatHealth
from worker.clock.slots import Standing
from worker.database import DATABASE_ERRORS, Database, is_outage
from worker.errors import Misconfigured
from worker.settings import load_settings
from worker.system_mark import SystemMark

_log = structlog.get_logger(__name__)


class LedgerScheduler(Scheduler):  # type: ignore[misc]  # Celery ships no types
    """Takes the place of Celery's own scheduler: `celery -A worker.app beat` finds it in the configuration."""

    def __init__(
        self,
        *args: Any,
        clock: Sequence[Line] | None = None,
        on_look: Callable[[], None] | None = None,
        **kwargs: Any,
    ) -> None:
        """`clock` stands in for that of `beat_schedule.py`; what is wrong there ends the process with a sentence.

        `on_look` is called at each look at the clock, by a beat whose process tells itself how it is. Without it this
        one does, at a port of its own.
        """
        try:
            self._lines = clock if clock is not None else lines()
        except Misconfigured as error:
            raise SystemExit(f"beat: {error}") from None  # Celery would wrap the sentence in a traceback
        settings = load_settings()
        self._database = Database(settings)
        self._health: BeatHealth | None = None
        if on_look is None:
            self._health = BeatHealth(settings)
            on_look = self._health.looked
        self._on_look = on_look
        self._mark = SystemMark(settings.redis_url.get_secret_value())
        self._told: dict[str, list[str]] = {}
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Nothing to install: the clock is `beat_schedule.ENTRIES`."""
        if self._health is not None:
            self._health.start()

    def tick(self, *_: Any, **__: Any) -> float:
        """Ask for what is due and tell what has ended; gives the seconds until it is worth looking again."""
        self._on_look()
        try:
            now, standings = self._standings()
            for line in self._lines:
                self._attend(line, now, standings)
            self._mark.renew(self._database)
        except DATABASE_ERRORS as error:
            _log.warning("clock.database_away", error=type(error).__name__)
            return float(self.max_interval)
        wait_s = min(((line.next_slot(now) - now).total_seconds() for line in self._lines), default=math.inf)
        return min(float(self.max_interval), max(0.1, wait_s))

    def close(self) -> None:
        if self._health is not None:
            self._health.close()
        self._mark.close()
        self._database.close()

    def _standings(self) -> tuple[datetime, Mapping[str, Standing]]:
        with self._database.transaction() as connection:
            now, standings = slots.standings(connection)
            if unseen := {line.name for line in self._lines} - standings.keys():
                slots.remember(connection, unseen)
                now, standings = slots.standings(connection)
        return now, standings

    def _attend(self, line: Line, now: datetime, standings: Mapping[str, Standing]) -> None:
        try:
            if self._is_due(line, now, standings):
                self._decide(line)
            self._tell(line, now, standings[line.name])
        except DATABASE_ERRORS as error:
            if is_outage(error):
                raise
            _log.error("clock.entry_failed", entry=line.name, error=type(error).__name__)  # the others go on

    def _is_due(self, line: Line, now: datetime, standings: Mapping[str, Standing]) -> bool:
        if not _is_undecided(line, now, standings[line.name]):
            return False
        if not line.after:
            return True
        # What lies further up is decided first, at an earlier tick than this: so the order holds also after an outage.
        above = [other for other in self._lines if other.name in line.after]
        undecided = {other.name for other in above if _is_undecided(other, now, standings[other.name])}
        with self._database.transaction() as connection:
            runs = slots.unfinished(connection, line.after)
        waits_for = undecided | {run.entry for run in runs if run.is_waited_for}
        if waits_for:
            self._tell_of_waiting(line, sorted(waits_for))
        elif runs:
            _log.warning("clock.goes_on_without", entry=line.name, unfinished=[str(run.job_id) for run in runs])
        return not waits_for

    def _decide(self, line: Line) -> None:
        with self._database.transaction() as connection:
            if (held := slots.hold(connection, line.name)) is None:
                return
            decision = line.decide(*held)
            asked: list[tuple[datetime, UUID | None]] = [
                (slot, slots.ask(connection, line.kind, line.args, entry=line.name, slot=slot)) for slot in decision.run
            ]
            slots.decided(connection, line.name, until=decision.until, missed=decision.missed)
        self._told.pop(line.name, None)
        for slot, job_id in asked:
            if job_id is not None:
                _log.info("clock.slot", entry=line.name, slot=slot.isoformat(), job=str(job_id))
        if decision.missed:
            _log.warning("clock.missed", entry=line.name, slots=decision.missed, until=decision.until.isoformat())

    def _tell(self, line: Line, now: datetime, standing: Standing) -> None:
        """Log a run's end, and that an entry is overdue or no longer so: one beat each, once."""
        is_overdue = standing.paused_at is None and now >= line.overdue_from(standing.waits_for_success_since)
        has_ended = standing.ended_job_id is not None and standing.ended_job_id != standing.noted_job_id
        has_changed = is_overdue != (standing.overdue_since is not None)
        if not (has_ended or has_changed):
            return
        with self._database.transaction() as connection:
            has_ended = has_ended and slots.note_end(connection, standing)
            has_changed = has_changed and slots.note_overdue(connection, line.name, is_overdue=is_overdue)
        if has_ended and standing.ended_slot is not None:
            _log.info(
                "clock.ended",
                entry=line.name,
                slot=standing.ended_slot.isoformat(),
                job=str(standing.ended_job_id),
                outcome=standing.ended_state,
                error_code=standing.ended_error_code,
                took_s=standing.ended_took.total_seconds() if standing.ended_took is not None else None,
                counts=list(_counts(standing.ended_progress or {})),
            )
        if has_changed and is_overdue:
            since = standing.waits_for_success_since
            _log.error("clock.overdue", entry=line.name, no_success_since=since.isoformat())
        elif has_changed:
            _log.info("clock.no_longer_overdue", entry=line.name)

    def _tell_of_waiting(self, line: Line, waits_for: list[str]) -> None:
        """Unless it was the last thing said about the entry: waiting is seen anew at each tick."""
        if self._told.get(line.name) != waits_for:
            self._told[line.name] = waits_for
            _log.info("clock.waits", entry=line.name, waits_for=waits_for)


def _counts(progress: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The numbers of a job's progress, each in a word: `requests.masked=3`. Those of a tally stand for themselves."""
    for name, value in progress.items():
        if isinstance(value, dict):
            yield from _counts(value, prefix if name == "counts" else f"{prefix}{name}.")
        elif isinstance(value, int) and not isinstance(value, bool):
            yield f"{prefix}{name}={value}"


def _is_undecided(line: Line, now: datetime, standing: Standing) -> bool:
    return standing.paused_at is None and line.is_undecided(standing.decided_until, now)
