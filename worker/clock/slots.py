"""The rows by which beats agree about slots: who decides one, how far each entry is, and how its runs end.

`schedule_entry` has a row for each entry. A beat decides slots while it holds that row, in the transaction that asks
for their jobs, so a beat that dies has decided nothing. The clock is the database's.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from models.ledger import ENTRY
from models.vocabularies import JobState
from worker.commit_hints import hint_after_commit
from worker.job import Kind

PATIENCE = timedelta(hours=4)
"""A job holds back what comes after it for this long at most: one that hangs must not cost the others their night."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How an entry stands. `last_*` is about its newest run, `ended_*` about the newest that is over.

    `noted_job_id` is the ended run that was noted last. `succeeded_at` is when a run last ended as done.
    """

    name: str
    decided_until: datetime
    missed: int
    counts_since: datetime
    noted_job_id: UUID | None
    overdue_since: datetime | None
    paused_at: datetime | None
    paused_by: str | None
    pause_reason: str | None
    last_slot: datetime | None
    last_state: JobState | None
    last_error_code: str | None
    last_took: timedelta | None
    last_progress: dict[str, Any] | None
    ended_job_id: UUID | None
    ended_slot: datetime | None
    ended_state: JobState | None
    ended_error_code: str | None
    ended_took: timedelta | None
    ended_progress: dict[str, Any] | None
    succeeded_at: datetime | None

    @property
    def waits_for_success_since(self) -> datetime:
        """From when on the time counts in which nothing has succeeded."""
        return max(self.succeeded_at or self.counts_since, self.counts_since)


def unseen(name: str, now: datetime) -> Standing:
    """How an entry stands that no beat has seen."""
    return Standing(name, now, 0, now, *[None] * 17)


def standings(connection: Connection) -> tuple[datetime, dict[str, Standing]]:
    """The database's time, and how every entry stands that a beat has seen."""
    now: datetime = connection.execute(text("SELECT now()")).scalar_one()
    return now, {row.name: Standing(*row) for row in connection.execute(_STANDINGS)}


_RUNS = f"FROM job WHERE {ENTRY} = entry.name AND scheduled_for IS NOT NULL"
_STANDINGS = text(
    f"""
    SELECT entry.name, decided_until, missed, counts_since, last_job_id, overdue_since, paused_at, paused_by,
        pause_reason, last.slot, last.state, last.error_code, last.took, last.progress,
        ended.id, ended.slot, ended.state, ended.error_code, ended.took, ended.progress,
        greatest(entry.succeeded_at, latest.succeeded_at)
    FROM schedule_entry AS entry
    LEFT JOIN LATERAL (
        SELECT scheduled_for AS slot, state, error_code, coalesce(finished_at, now()) - started_at AS took, progress
        {_RUNS} ORDER BY scheduled_for DESC LIMIT 1
    ) AS last ON true
    LEFT JOIN LATERAL (
        SELECT id, scheduled_for AS slot, state, error_code, finished_at - started_at AS took, progress
        {_RUNS} AND finished_at IS NOT NULL ORDER BY scheduled_for DESC LIMIT 1
    ) AS ended ON true
    -- Not all of them: an entry of every minute that fails for weeks must not be read through at each tick.
    CROSS JOIN LATERAL (
        SELECT max(finished_at) AS succeeded_at
        FROM (SELECT state, finished_at {_RUNS} ORDER BY scheduled_for DESC LIMIT 50) AS run WHERE state = 'done'
    ) AS latest
    """  # noqa: S608 - constants of ours
)


def remember(connection: Connection, names: Collection[str]) -> None:
    """Begin with entries that no beat has seen: after their last slot in the ledger, else now."""
    connection.execute(_REMEMBER, {"names": sorted(names)})


_REMEMBER = text(
    f"""
    INSERT INTO schedule_entry (name, decided_until)
    SELECT entry.name, coalesce((SELECT scheduled_for {_RUNS} ORDER BY scheduled_for DESC LIMIT 1), now())
    FROM unnest(CAST(:names AS text[])) AS entry (name)
    ON CONFLICT DO NOTHING
    """  # noqa: S608 - constants of ours
)


def hold(connection: Connection, name: str) -> tuple[datetime, datetime] | None:
    """Take an entry's row to decide its slots; gives up to where they are decided, and the database's time.

    None if another beat holds it, or somebody has paused it.
    """
    row = connection.execute(_HOLD, {"name": name}).one_or_none()
    return (row.decided_until, row.now) if row is not None else None


_HOLD = text(
    """
    SELECT decided_until, now() AS now FROM schedule_entry WHERE name = :name AND paused_at IS NULL
    FOR UPDATE SKIP LOCKED
    """
)


def ask(connection: Connection, kind: Kind, args: Mapping[str, Any], *, entry: str, slot: datetime) -> UUID | None:
    """Ask for the run of an entry at `slot`; gives the job's id, or None if somebody has done so already."""
    job_id: UUID | None = connection.execute(
        _ASK,
        {
            "kind": kind.name,
            "queue": kind.queue,
            "args": dict(args),
            "max_attempts": kind.max_attempts,
            "entry": entry,
            "slot": slot,
        },
    ).scalar_one_or_none()
    if job_id is not None:
        hint_after_commit(connection, [(kind.queue, kind.name, job_id)])
    return job_id


_ASK = text(
    """
    INSERT INTO job (kind, queue, args, max_attempts, entry, scheduled_for)
    VALUES (:kind, :queue, :args, :max_attempts, :entry, :slot)
    ON CONFLICT DO NOTHING RETURNING id
    """
).bindparams(bindparam("args", type_=JSONB))


def decided(connection: Connection, name: str, *, until: datetime, missed: int) -> None:
    """Every slot up to `until` has its job or is among the `missed` ones. The caller holds the row."""
    connection.execute(_DECIDED, {"name": name, "until": until, "missed": missed})


_DECIDED = text("UPDATE schedule_entry SET decided_until = :until, missed = missed + :missed WHERE name = :name")


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A run that is not over; `is_waited_for` while patience with it lasts."""

    entry: str
    job_id: UUID
    is_waited_for: bool


def unfinished(connection: Connection, entries: Sequence[str]) -> list[Unfinished]:
    """The waiting and running jobs of these entries."""
    return [
        Unfinished(*row) for row in connection.execute(_UNFINISHED, {"entries": list(entries), "patience": PATIENCE})
    ]


_UNFINISHED = text(
    f"""
    SELECT {ENTRY}, id, created_at > now() - :patience FROM job
    WHERE {ENTRY} = ANY(CAST(:entries AS text[])) AND scheduled_for IS NOT NULL AND state IN ('ready', 'running')
    ORDER BY scheduled_for
    """  # noqa: S608 - constants of ours
)


def note_end(connection: Connection, standing: Standing) -> bool:
    """Keep the end of an entry's newest run; False if another beat was quicker, so that each end is told once."""
    return bool(
        connection.execute(
            _NOTE_END,
            {
                "name": standing.name,
                "noted": standing.noted_job_id,
                "ended": standing.ended_job_id,
                "succeeded_at": standing.succeeded_at,
            },
        ).rowcount
    )


_NOTE_END = text(
    """
    UPDATE schedule_entry SET last_job_id = :ended, succeeded_at = greatest(succeeded_at, :succeeded_at)
    WHERE name = :name AND last_job_id IS NOT DISTINCT FROM CAST(:noted AS uuid)
    """
)


def note_overdue(connection: Connection, name: str, *, is_overdue: bool) -> bool:
    """Keep whether an entry is overdue; True for the one beat that is the first to notice a change."""
    return bool(connection.execute(_OVERDUE, {"name": name, "is_overdue": is_overdue}).rowcount)


_OVERDUE = text(
    """
    UPDATE schedule_entry SET overdue_since = CASE WHEN :is_overdue THEN now() END
    WHERE name = :name AND (overdue_since IS NOT NULL) <> :is_overdue
    """
)
