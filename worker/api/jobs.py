"""Jobs: where they are, why they are there, and stopping or starting them anew.

A client sees its own tenants' jobs; any other job is one that does not exist.
"""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Security
from pydantic import AwareDatetime, BaseModel
from sqlalchemy import Connection, text
from starlette.concurrency import run_in_threadpool

from models.vocabularies import JobState
from worker.api import problems
from worker.api.auth import authenticated, database_of
from worker.api.paging import cursor_after, position
from worker.api.tokens import Caller
from worker.api.waiting import Waiting
from worker.database import Database
from worker.errors import BadRequest
from worker.operating import control
from worker.operating.cause import Cause
from worker.operating.why import why

WAIT_MAX_S = 60
PAGE_MAX = 200

router = APIRouter(prefix="/v1", tags=["jobs"], responses=problems.EVERYWHERE)

Reader = Annotated[Caller, Security(authenticated, scopes=["jobs:read"])]
Operator = Annotated[Caller, Security(authenticated, scopes=["jobs:write"])]


class Job(BaseModel):
    """One job. `request_id` is the verification it does; a `ready` job with a later `run_at` waits until then."""

    job_id: UUID
    kind: str
    tenant: str
    resource: str | None
    request_id: int | None
    state: JobState
    priority: int
    attempt: int
    crashes: int
    is_cancel_requested: bool
    waiting_for: str | None
    error_code: str | None
    progress: dict[str, Any] | None
    created_at: datetime
    run_at: datetime
    deadline_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None


class Page(BaseModel):
    """The newest first. `next_cursor` is null on the last page."""

    jobs: list[Job]
    next_cursor: str | None


_COLUMNS = """
    id AS job_id, kind, tenant, resource,
    CASE WHEN kind = 'verification.verify' THEN CAST(args ->> 'request_id' AS bigint) END AS request_id,
    state, priority, attempt, crashes, cancel_requested_at IS NOT NULL AS is_cancel_requested, waiting_for, error_code,
    progress, created_at, run_at, deadline_at, started_at, finished_at
"""


@router.get("/jobs/{job_id}", responses={404: problems.NOT_FOUND})
async def get_job(
    job_id: UUID,
    request: Request,
    caller: Reader,
    wait: Annotated[
        int, Query(ge=0, le=WAIT_MAX_S, description="Seconds to wait for the job to be over before answering.")
    ] = 0,
) -> Job:
    """One job as it is now, or as soon as it is over."""
    job = await run_in_threadpool(_read, database_of(request), job_id, caller)
    if wait and job.finished_at is None:
        waiting: Waiting = request.state.waiting
        await waiting.until_over(job_id, wait)
        job = await run_in_threadpool(_read, database_of(request), job_id, caller)
    return job


def _read(database: Database, job_id: UUID, caller: Caller) -> Job:
    with database.transaction() as connection:
        return _job(connection, job_id, caller)


def _job(connection: Connection, job_id: UUID, caller: Caller) -> Job:
    row = connection.execute(_JOB, {"id": job_id, "tenants": list(caller.tenants)}).mappings().one_or_none()
    if row is None:
        raise BadRequest("unknown_job", f"there is no job {job_id}")
    return Job.model_validate(row)


_JOB = text(f"SELECT {_COLUMNS} FROM job WHERE id = :id AND tenant = ANY(:tenants)")  # noqa: S608 - constants of ours


@router.get("/jobs")
def list_jobs(
    request: Request,
    caller: Reader,
    state: JobState | None = None,
    kind: Annotated[str | None, Query(max_length=100, pattern=r"^[a-z_]+(\.[a-z_]+)+$")] = None,
    since: Annotated[
        AwareDatetime | None, Query(description="Only jobs that were asked for at this moment or later.")
    ] = None,
    cursor: Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
) -> Page:
    """The jobs of the client's tenants."""
    before, before_id = position(cursor) if cursor is not None else (None, None)
    values = {
        "tenants": list(caller.tenants), "state": state, "kind": kind, "since": since, "before": before,
        "before_id": before_id, "rows": limit + 1,
    }  # fmt: skip
    with database_of(request).transaction() as connection:
        found = [Job.model_validate(row) for row in connection.execute(_JOBS, values).mappings()]
    page = found[:limit]
    goes_on = cursor_after(page[-1].created_at, page[-1].job_id) if len(found) > limit else None
    return Page(jobs=page, next_cursor=goes_on)


_JOBS = text(
    f"""
    SELECT {_COLUMNS} FROM job
    WHERE tenant = ANY(:tenants)
      AND (CAST(:state AS text) IS NULL OR state = :state)
      AND (CAST(:kind AS text) IS NULL OR kind = :kind)
      AND (CAST(:since AS timestamptz) IS NULL OR created_at >= :since)
      AND (CAST(:before AS timestamptz) IS NULL
           OR (created_at, id) < (CAST(:before AS timestamptz), CAST(:before_id AS uuid)))
    ORDER BY created_at DESC, id DESC LIMIT :rows
    """  # noqa: S608 - constants of ours
)

OVER = problems.documented("The state of the job does not allow it.")


@router.post("/jobs/{job_id}:cancel", status_code=202, responses={404: problems.NOT_FOUND, 409: OVER})
def cancel_job(job_id: UUID, request: Request, caller: Operator) -> Job:
    """Ask a job to stop, waiting or running. It is over when its state says so."""
    with database_of(request).transaction() as connection:
        _job(connection, job_id, caller)
        control.cancel(connection, job_id, caller.client_id)
        return _job(connection, job_id, caller)


@router.post("/jobs/{job_id}:retry", status_code=202, responses={404: problems.NOT_FOUND, 409: OVER})
def retry_job(job_id: UUID, request: Request, caller: Operator) -> Job:
    """Have a failed, cancelled or expired job start anew. One that killed its workers only an operator sets loose."""
    with database_of(request).transaction() as connection:
        if _job(connection, job_id, caller).error_code == "worker_died":
            raise BadRequest("quarantined", f"job {job_id} is in quarantine")
        control.retry(connection, job_id, caller.client_id)
        return _job(connection, job_id, caller)


class Reason(BaseModel):
    """`code` is for programs, `sentence` for people, `facts` are the times and counts behind it."""

    code: Cause
    sentence: str
    facts: dict[str, datetime | int | str]


@router.get("/jobs/{job_id}/why", responses={404: problems.NOT_FOUND})
def why_job(job_id: UUID, request: Request, caller: Reader) -> Reason:
    """Why a job is where it is."""
    with database_of(request).transaction() as connection:
        _job(connection, job_id, caller)
        answer = why(connection, job_id)
    facts = {name: value for name, value in answer.facts.items() if name in _TOLD}
    return Reason(code=answer.code, sentence=_DISCREET.get(answer.code, answer.sentence), facts=facts)


# Operators' names and reasons, machines, other tenants and what an exception said are for the command line only.
_TOLD = frozenset(
    {
        "finished_at", "error_code", "attempt", "max_attempts", "crashes", "cancel_requested_at", "deadline_at",
        "started_at", "lease_until", "paused_at", "paused_until", "run_at", "waiting_for", "hinted_at", "ahead",
    }
)  # fmt: skip
_DISCREET: dict[Cause, str] = {
    "failed": "It failed.",
    "running": "It is run by a worker.",
    "stopping": "It was asked to stop and is still run; it ends within seconds.",
    "lease_ran_out": "The worker that ran it died; another one takes it over.",
    "cancel_requested": "It was asked to stop and ends within seconds.",
    "deadline_passed": "Its deadline has passed; it ends within seconds.",
    "paused": "An operator has paused it.",
    "retry_later": "An attempt failed; it is tried again.",
    "no_worker": "No worker listens to its queue at the moment.",
    "waits_for_turn": "It waits for its turn.",
}
