"""Looking at jobs and queues: lists, one job with its history, and how each queue stands. Reads only."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, get_args
from uuid import UUID

from sqlalchemy import Connection, text

from models.vocabularies import JobState
from worker.broker import QUEUES
from worker.errors import BadRequest
from worker.pauses import Pause, holds_back, in_force
from worker.process.presence import AT_WORK_FOR

LIST_MAX = 10_000


@dataclass(frozen=True, slots=True)
class JobLine:
    """One job in a list."""

    id: UUID
    kind: str
    queue: str
    tenant: str
    resource: str | None
    state: JobState
    attempt: int
    crashes: int
    created_at: datetime
    run_at: datetime
    finished_at: datetime | None
    waiting_for: str | None
    error_code: str | None


def jobs(
    connection: Connection,
    *,
    state: str | None = None,
    kind: str | None = None,
    tenant: str | None = None,
    resource: str | None = None,
    error_code: str | None = None,
    since: datetime | None = None,
    batch_id: UUID | None = None,
    limit: int = 50,
) -> list[JobLine]:
    """The newest jobs that match all that is given; `since` is the earliest moment they were asked for.

    Raises `BadRequest` with code bad_state or bad_limit.
    """
    if state is not None and state not in get_args(JobState):
        raise BadRequest("bad_state", f"there is no state {state}; states are {', '.join(get_args(JobState))}")
    if not 0 < limit <= LIST_MAX:
        raise BadRequest("bad_limit", f"the limit must lie between 1 and {LIST_MAX}, not at {limit}")
    values = {
        "state": state, "kind": kind, "tenant": tenant, "resource": resource, "error_code": error_code, "since": since,
        "batch_id": batch_id, "limit": limit,
    }  # fmt: skip
    return [JobLine(*row) for row in connection.execute(_JOBS, values)]


_JOBS = text(
    """
    SELECT id, kind, queue, tenant, resource, state, attempt, crashes, created_at, run_at, finished_at, waiting_for,
        error_code
    FROM job
    WHERE (CAST(:state AS text) IS NULL OR state = :state)
      AND (CAST(:kind AS text) IS NULL OR kind = :kind)
      AND (CAST(:tenant AS text) IS NULL OR tenant = :tenant)
      AND (CAST(:resource AS text) IS NULL OR resource = :resource)
      AND (CAST(:error_code AS text) IS NULL OR error_code = :error_code)
      AND (CAST(:since AS timestamptz) IS NULL OR created_at >= :since)
      AND (CAST(:batch_id AS uuid) IS NULL OR batch_id = :batch_id)
    ORDER BY created_at DESC, id LIMIT :limit
    """
)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job."""

    at: datetime
    event: str
    attempt: int
    code: str | None
    next_run_at: datetime | None
    by: str | None


@dataclass(frozen=True, slots=True)
class Details:
    """A job's whole row, its history in order, and the state of its `integration_request` if it has one."""

    job: dict[str, Any]
    events: list[Event]
    request: dict[str, Any] | None


def details(connection: Connection, job_id: UUID) -> Details:
    """Everything about one job that is no personal data. Raises `BadRequest` with code unknown_job."""
    row = connection.execute(text("SELECT * FROM job WHERE id = :id"), {"id": job_id}).mappings().one_or_none()
    if row is None:
        raise BadRequest("unknown_job", f"there is no job {job_id}")
    events = [
        Event(row["created_at"], "asked_for", 0, None, None, None),
        *(Event(*event) for event in connection.execute(_EVENTS, {"id": job_id})),
    ]
    request = connection.execute(_REQUEST, {"id": row["args"].get("request_id")}).mappings().one_or_none()
    return Details(dict(row), events, dict(request) if request is not None else None)


_EVENTS = text('SELECT at, event, attempt, code, next_run_at, "by" FROM job_event WHERE job_id = :id ORDER BY id')

_REQUEST = text(
    """
    SELECT id, request_status, response_status_code, retry_count, response_time_ms
    FROM integration_request WHERE id = CAST(:id AS bigint)
    """
)


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """How a queue stands. `ready` jobs wait, `due` ones among them could run now, `held` ones could but are paused.

    `oldest_due` is for how long the oldest of those that are due and not held has waited.
    """

    queue: str
    ready: int
    due: int
    held: int
    running: int
    oldest_due: timedelta | None
    workers: int
    in_flight: int
    calls_in_flight: int


def queues(connection: Connection) -> tuple[list[QueueStatus], list[Pause]]:
    """Every queue, and every pause in force."""
    rows = connection.execute(_QUEUES, {"queues": list(QUEUES), "at_work_for": AT_WORK_FOR})
    return [QueueStatus(*row) for row in rows], in_force(connection)


_QUEUES = text(
    f"""
    WITH waiting AS (
        SELECT queue, count(*) AS ready, count(*) FILTER (WHERE is_due) AS due,
            count(*) FILTER (WHERE is_due AND is_held) AS held,
            now() - min(run_at) FILTER (WHERE is_due AND NOT is_held) AS oldest_due
        FROM (
            SELECT queue, run_at, run_at <= now() AS is_due, EXISTS (
                SELECT FROM job_pause WHERE {holds_back("job.queue", "job.kind", "job.tenant", "job.resource")}
            ) AS is_held
            FROM job WHERE state = 'ready'
        ) AS job GROUP BY queue
    ), running AS (
        SELECT queue, count(*) AS running FROM job WHERE state = 'running' GROUP BY queue
    ), working AS (
        SELECT queue, count(*) AS workers, sum(in_flight) AS in_flight, sum(calls_in_flight) AS calls_in_flight
        FROM worker_process CROSS JOIN unnest(queues) AS queue
        WHERE seen_at > now() - :at_work_for GROUP BY queue
    )
    SELECT queue, coalesce(ready, 0), coalesce(due, 0), coalesce(held, 0), coalesce(running, 0), oldest_due,
        coalesce(workers, 0), coalesce(in_flight, 0), coalesce(calls_in_flight, 0)
    FROM unnest(CAST(:queues AS text[])) AS known (queue)
    FULL JOIN waiting USING (queue) FULL JOIN running USING (queue) FULL JOIN working USING (queue)
    ORDER BY queue
    """  # noqa: S608 - constants of ours
)
