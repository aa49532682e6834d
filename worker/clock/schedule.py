"""What operators see of the clock, and what they do to it: run an entry now, pause it, resume it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from models.vocabularies import JobState
from worker.audit import audit
from worker.clock import slots
from worker.clock.entries import Line, timings
from worker.clock.moments import overdue_from
from worker.clock.slots import Standing
from worker.errors import BadRequest


@dataclass(frozen=True, slots=True)
class EntryStatus:
    """How an entry stands: its newest run, by the clock or by hand, and what is to come.

    `progress` is what that run's job says it has done: counts, in its kind's own words.

    `due_since` is the earliest slot that passed and that no beat has decided about: it waits for the entries `after`,
    or no beat runs. `missed_runs` counts slots that passed without a run, but not those that passed during a pause.
    `overdue_since` is the moment from which nothing had succeeded for twice its period; None where all is well.
    """

    name: str
    kind: str
    schedule: str
    zone: str
    missed: str
    after: Sequence[str]
    last_slot: datetime | None
    last_outcome: JobState | None
    last_error_code: str | None
    took: timedelta | None
    progress: dict[str, Any] | None
    succeeded_at: datetime | None
    next_slot: datetime
    due_since: datetime | None
    missed_runs: int
    overdue_since: datetime | None
    paused_at: datetime | None
    paused_by: str | None
    pause_reason: str | None


def status(connection: Connection, lines: Sequence[Line]) -> list[EntryStatus]:
    """Every entry in the clock's order. True also while no beat runs, and before the first one has."""
    now, standings = slots.standings(connection)
    return [_status(line, now, standings.get(line.name) or slots.unseen(line.name, now)) for line in lines]


def _status(line: Line, now: datetime, standing: Standing) -> EntryStatus:
    due_since = line.due_since(standing.decided_until, now)
    alarming_from = line.overdue_from(standing.waits_for_success_since)
    is_paused = standing.paused_at is not None
    return EntryStatus(
        name=line.name,
        kind=line.kind.name,
        schedule=line.cron,
        zone=line.zone.key,
        missed=line.missed,
        after=line.after,
        last_slot=standing.last_slot,
        last_outcome=standing.last_state,
        last_error_code=standing.last_error_code,
        took=standing.last_took,
        progress=standing.last_progress,
        succeeded_at=standing.succeeded_at,
        next_slot=line.next_slot(now),
        due_since=None if is_paused else due_since,
        missed_runs=standing.missed,
        overdue_since=alarming_from if alarming_from <= now and not is_paused else None,
        paused_at=standing.paused_at,
        paused_by=standing.paused_by,
        pause_reason=standing.pause_reason,
    )


def missed_runs(connection: Connection) -> dict[str, int]:
    """For each entry a beat has ever seen, how many of its slots passed without a run. Only grows."""
    return dict(connection.execute(text("SELECT name, missed FROM schedule_entry ORDER BY name")).all())


def since_success(connection: Connection) -> dict[str, tuple[timedelta, bool]]:
    """For each entry of the clock that a beat has seen: for how long nothing has succeeded, and whether that is more
    than twice its period.

    True also while no beat runs, which is when it matters most. What passes during a pause does not count.
    """
    now, standings = slots.standings(connection)
    found = {}
    for name, (schedule, zone) in timings().items():
        if (standing := standings.get(name)) is not None:
            since = standing.waits_for_success_since
            found[name] = (now - since, standing.paused_at is None and overdue_from(schedule, since, zone) <= now)
    return found


def find(lines: Sequence[Line], name: str) -> Line:
    """The entry of this name. Raises `BadRequest` with code unknown_entry."""
    for line in lines:
        if line.name == name:
            return line
    raise BadRequest("unknown_entry", f"there is no entry {name}; there is {', '.join(line.name for line in lines)}")


def run(connection: Connection, line: Line, by: str) -> UUID:
    """Ask for a run now, beside the entry's slots, also while it is paused; gives the job's id.

    It waits for no other entry; others wait for it as for any run. `by` is an account name.
    """
    slots.remember(connection, [line.name])
    now: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    job_id = slots.ask(connection, line.kind, line.args, entry=line.name, slot=now)
    if job_id is None:
        raise BadRequest("runs_already", f"{line.name} was asked for at this very moment")
    _audit(connection, "schedule.run", line, {"by": by, "job": str(job_id)})
    return job_id


def pause(connection: Connection, line: Line, by: str, reason: str) -> None:
    """Have no beat ask for runs of an entry; a run that was asked for runs. Slots that pass meanwhile are not made up.

    Pausing again replaces reason and name. Raises `BadRequest` with code no_reason.
    """
    if not reason.strip():
        raise BadRequest("no_reason", "say why: the reason is what others read at night")
    slots.remember(connection, [line.name])
    connection.execute(_PAUSE, {"name": line.name, "by": by, "reason": reason.strip()})
    _audit(connection, "schedule.paused", line, {"by": by})


_PAUSE = text(
    """
    UPDATE schedule_entry SET
        paused_at = coalesce(paused_at, now()), paused_by = :by, pause_reason = :reason, overdue_since = NULL
    WHERE name = :name
    """
)


def resume(connection: Connection, line: Line, by: str) -> None:
    """Have an entry run from its next slot on. Raises `BadRequest` with code not_paused."""
    if not connection.execute(_RESUME, {"name": line.name}).rowcount:
        raise BadRequest("not_paused", f"{line.name} is not paused")
    _audit(connection, "schedule.resumed", line, {"by": by})


_RESUME = text(
    """
    UPDATE schedule_entry SET
        decided_until = greatest(decided_until, now()), counts_since = now(),
        paused_at = NULL, paused_by = NULL, pause_reason = NULL
    WHERE name = :name AND paused_at IS NOT NULL
    """
)


def _audit(connection: Connection, action: str, line: Line, details: dict[str, str]) -> None:
    audit(connection, action=action, resource_type="schedule_entry", resource_id=line.name, details=details)
