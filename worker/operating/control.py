"""What operators do to jobs: cancel, retry, and replay many that failed.

Each is a statement or two on the caller's connection and commits nothing. `by` is the account name of whoever wants
it; it is kept in the job's events and in the audit trail.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import Connection, text

from models.vocabularies import JobState
from worker import ledger
from worker.audit import audit
from worker.errors import BadRequest

REPLAY_MAX = 10_000
"""Jobs that one replay takes at the most: one transaction's worth."""


def cancel(connection: Connection, job_id: UUID, by: str) -> JobState:
    """Ask a job to stop; gives the state it was found in.

    A waiting job ends within seconds of a worker's next look, a running one at the next renewal of its lease; its
    domain's rows follow. Raises `BadRequest` with code unknown_job or already_over.
    """
    is_alive = ledger.request_cancel(connection, job_id, by)
    state = _state(connection, job_id)
    if not is_alive:
        raise BadRequest("already_over", f"job {job_id} is over already: it is {state}")
    audit(connection, action="jobs.cancelled", resource_type="job", resource_id=job_id, details={"by": by})
    return state


def retry(connection: Connection, job_id: UUID, by: str) -> None:
    """Have a failed, cancelled or expired job start anew at once, attempts and deaths counted from nothing.

    Its deadline, if it had one, is as far away again as it was at first. The rows of its domain follow: the request of
    a verification is pending again. Raises `BadRequest` with code unknown_job, already_done or not_over.
    """
    if _reopen(connection, [job_id], by):
        audit(connection, action="jobs.retried", resource_type="job", resource_id=job_id, details={"by": by})
        return
    state = _state(connection, job_id)
    if state == "done":
        raise BadRequest("already_done", f"job {job_id} is done: there is nothing to retry, ask for a new job")
    raise BadRequest("not_over", f"job {job_id} is not over: it is {state}, and only what has ended can be retried")


@dataclass(frozen=True, slots=True)
class Failed:
    """Which failed jobs are meant: those that match all that is set. `since` and `before` bound the moment they failed.

    Quarantined jobs, whose workers died, are meant only where `error_code` is worker_died: a replay for another reason
    must not set loose what kills workers.
    """

    kind: str | None = None
    tenant: str | None = None
    resource: str | None = None
    error_code: str | None = None
    since: datetime | None = None
    before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Replay:
    """`jobs` of the `matching` ones start anew, and may cost `calls_at_most` calls of providers, and `cost_at_most` US
    dollars where these have a price.

    That counts each job's first call and the retries it is allowed. A call that is repeated because its worker died, or
    because its token was refused, is not in it.
    """

    matching: int
    jobs: int
    calls_at_most: int
    cost_at_most: Decimal = Decimal(0)


def replay(connection: Connection, failed: Failed, by: str, *, dry_run: bool, limit: int = REPLAY_MAX) -> Replay:
    """Have failed jobs start anew, those first that failed first.

    The dry run is the real one, taken back: its numbers are those of the same call without it. Raises `BadRequest` with
    code no_filter or bad_limit.
    """
    if not any(asdict(failed).values()):
        raise BadRequest("no_filter", "say which failed jobs: by kind, tenant, resource, error code or time")
    if not 0 < limit <= REPLAY_MAX:
        raise BadRequest("bad_limit", f"the limit must lie between 1 and {REPLAY_MAX}, not at {limit}")
    with connection.begin_nested() as savepoint:
        values = {**asdict(failed), "limit": limit}
        matching = int(connection.execute(_COUNT_FAILED, values).scalar_one())
        ids = connection.execute(_LOCK_FAILED, values).scalars().all()
        calls = _reopen(connection, ids, by)
        cost = _cost(connection, calls)
        if calls:
            named = {name: value for name, value in asdict(failed).items() if value is not None}
            details = {"by": by, "jobs": len(calls), "calls_at_most": sum(calls.values()), **named}
            audit(connection, action="jobs.replayed", resource_type="job", details=details)
        if dry_run:
            savepoint.rollback()
    return Replay(matching, len(calls), sum(calls.values()), cost)


_FAILED = """
    FROM job WHERE state = 'failed'
      AND (CAST(:kind AS text) IS NULL OR kind = :kind)
      AND (CAST(:tenant AS text) IS NULL OR tenant = :tenant)
      AND (CAST(:resource AS text) IS NULL OR resource = :resource)
      AND CASE WHEN CAST(:error_code AS text) IS NULL THEN error_code IS DISTINCT FROM 'worker_died'
               ELSE error_code = :error_code END
      AND (CAST(:since AS timestamptz) IS NULL OR finished_at >= :since)
      AND (CAST(:before AS timestamptz) IS NULL OR finished_at < :before)
"""
_COUNT_FAILED = text(f"SELECT count(*) {_FAILED}")
_LOCK_FAILED = text(f"SELECT id {_FAILED} ORDER BY finished_at, id LIMIT :limit FOR UPDATE SKIP LOCKED")


def _reopen(connection: Connection, ids: Sequence[UUID], by: str) -> dict[UUID, int]:
    """Reopens those of `ids` that ended without being done; gives for each the calls of a provider it may cost."""
    rows = connection.execute(_REOPEN, {"ids": list(ids), "by": by})
    return {row.job_id: row.calls_at_most for row in rows}


# In the database, where the domain's rows can follow without this process having loaded the code of the jobs' kinds.
_REOPEN = text("SELECT job_id, calls_at_most FROM reopen_jobs(CAST(:ids AS uuid[]), :by)")


def _cost(connection: Connection, calls: Mapping[UUID, int]) -> Decimal:
    cost: Decimal = connection.execute(_COST, {"ids": list(calls), "calls": list(calls.values())}).scalar_one()
    return cost


_COST = text(
    """
    SELECT coalesce(sum(given.calls * configuration.price_per_call), 0)
    FROM unnest(CAST(:ids AS uuid[]), CAST(:calls AS integer[])) AS given (id, calls)
    JOIN job ON job.id = given.id AND job.kind = 'verification.verify'
    JOIN integration_request AS request ON request.id = (job.args ->> 'request_id')::bigint
    JOIN integration_configuration AS configuration ON configuration.id = request.configuration_id
    """
)


def _state(connection: Connection, job_id: UUID) -> JobState:
    state: JobState | None = connection.execute(
        text("SELECT state FROM job WHERE id = :id"), {"id": job_id}
    ).scalar_one_or_none()
    if state is None:
        raise BadRequest("unknown_job", f"there is no job {job_id}")
    return state
