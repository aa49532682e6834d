"""The rows that are the jobs: claim, renew, finish, rescue, cancel.

Every function works on the caller's connection and commits nothing; mostly it is one statement. The clock is the
database's. Whoever claims a row raises its fence; a finish or renewal with an older fence touches nothing, so a worker
that was thought dead and comes back can't write over its successor.

Locks are taken in one order: batches by their ids, then jobs, then the domain's rows. Whoever takes many jobs that it
doesn't own passes over those that are locked.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import orjson
from sqlalchemy import Connection, text

from models.ledger import ENDING
from worker import batch
from worker.job import Job
from worker.pauses import holds_back
from worker.verdict import Verdict

DEATHS_BEFORE_QUARANTINE = 3
"""A job whose workers died this often is no longer run: it is ended as failed, through its kind's `save`."""

DEATHS_BEFORE_BURIAL = 5
"""A job that takes its worker along even then is ended by the ledger alone."""


# A batch finds its rows by key. Said plainly, these conditions are those of partial indexes, and the planner, whose
# statistics lag behind a backlog that comes and goes, reads all that is ready or running to find a handful by id.
READY = "job.state || '' = 'ready'"
_RUNNING = "job.state || '' = 'running'"


def claim(connection: Connection, ids: Collection[UUID], *, owner: str, lease: timedelta) -> list[Job]:
    """Take those of `ids` that are due and free. The rest belongs to somebody else, or is not due, or is no more.

    Paused ones are left alone, unless all there is to do is to end them: a cancelled job and one past its deadline
    don't run. The mark of a hint that met a pause is taken away, so that the job is hinted at once when it is resumed.
    """
    rows = connection.execute(_CLAIM, {"ids": list(ids), "owner": owner, "lease": lease}).all()
    return [Job(*row) for row in rows]


_CLAIM = text(
    f"""
    WITH free AS (
        SELECT id, coalesce({ENDING} > now(), true) AND EXISTS (
            SELECT FROM job_pause WHERE {holds_back("job.queue", "job.kind", "job.tenant", "job.resource")}
        ) AS is_paused
        FROM job
        -- Not `ANY(:ids)` itself: for a handful of ids that would be planned anew each time.
        WHERE id = ANY(ARRAY(SELECT unnest(CAST(:ids AS uuid[])))) AND {READY}
          AND (run_at <= now() OR cancel_requested_at IS NOT NULL OR deadline_at <= now())
        FOR UPDATE SKIP LOCKED
    ), left_alone AS (
        UPDATE job SET hinted_at = NULL
        FROM free WHERE job.id = free.id AND free.is_paused AND job.hinted_at IS NOT NULL
    )
    UPDATE job SET
        state = 'running', fence = fence + 1, lease_until = now() + :lease, leased_by = :owner,
        started_at = coalesce(started_at, now()), hinted_at = NULL, waiting_for = NULL
    FROM free WHERE job.id = free.id AND NOT free.is_paused
    RETURNING job.id, kind, args, attempt, max_attempts, crashes, fence, deadline_at,
        coalesce(deadline_at <= now(), false), cancel_requested_at IS NOT NULL, deadline_at - now(),
        batch_id, CAST(extract(epoch FROM greatest(now() - run_at, '0')) AS double precision),
        trace_context
    """  # noqa: S608 - constants of ours
)


@dataclass(frozen=True, slots=True)
class Held:
    """What a renewal found out about one job of this process."""

    id: UUID
    is_ours: bool
    is_cancelled: bool


def renew(connection: Connection, jobs: Sequence[Job], *, lease: timedelta) -> list[Held]:
    """Extend the leases of running jobs. Rows that are locked at this moment are being finished: they are left."""
    rows = connection.execute(
        _RENEW, {"ids": [job.id for job in jobs], "fences": [job.fence for job in jobs], "lease": lease}
    )
    return [Held(*row) for row in rows]


_RENEW = text(
    f"""
    WITH ours AS (
        SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:fences AS bigint[])) AS ours (id, fence)
    ), free AS (
        SELECT job.id FROM job JOIN ours ON job.id = ours.id
        WHERE job.id = ANY(CAST(:ids AS uuid[])) AND {_RUNNING} AND job.fence = ours.fence
        FOR UPDATE OF job SKIP LOCKED
    ), renewed AS (
        UPDATE job SET lease_until = now() + :lease FROM free WHERE job.id = free.id
    )
    SELECT ours.id, coalesce(job.state = 'running' AND job.fence = ours.fence, false),
        coalesce(job.cancel_requested_at IS NOT NULL, false)
    FROM ours LEFT JOIN job ON job.id = ours.id
    """  # noqa: S608 - constants of ours
)


def finish(connection: Connection, verdicts: Sequence[tuple[Job, Verdict]]) -> set[UUID]:
    """Write the verdicts of runs that still own their jobs; gives the ids of those.

    Where jobs of batches end, the batches go on: their next step is let go, or their callback asked for.
    """
    batches = {job.batch_id for job, verdict in verdicts if job.batch_id is not None and verdict.wait is None}
    if batches:
        batch.hold(connection, batches)
    rows = [
        {
            "id": job.id,
            "fence": job.fence,
            "state": verdict.state,
            "wait_s": verdict.wait.total_seconds() if verdict.wait is not None else None,
            "attempt": verdict.attempt,
            "event": verdict.event,
            "code": verdict.code,
            "message": verdict.message,
            "waiting_for": verdict.waiting_for,
        }
        for job, verdict in verdicts
    ]
    # One document: psycopg quotes the elements of arrays one by one, in Python.
    finished = set(connection.execute(_FINISH, {"verdicts": orjson.dumps(rows).decode()}).scalars())
    if batches:
        batch.settle(connection, batches)
    return finished


_FINISH = text(
    f"""
    WITH verdict AS (
        SELECT *, make_interval(secs => wait_s) AS wait FROM jsonb_to_recordset(CAST(:verdicts AS jsonb)) AS verdict (
            id uuid, fence bigint, state text, wait_s double precision, attempt integer, event text, code text,
            message text, waiting_for text
        )
    ), finished AS (
        UPDATE job SET
            state = verdict.state,
            -- A wait that would outlast the deadline ends at the deadline, so that the job can expire there.
            run_at = CASE WHEN verdict.wait IS NULL THEN run_at ELSE least(now() + verdict.wait, deadline_at) END,
            attempt = verdict.attempt,
            lease_until = NULL, leased_by = NULL, hinted_at = NULL,
            waiting_for = verdict.waiting_for, error_code = verdict.code, error_message = verdict.message,
            finished_at = CASE WHEN verdict.wait IS NULL THEN now() END
        FROM verdict
        WHERE job.id = verdict.id AND job.fence = verdict.fence AND {_RUNNING}
          AND job.id = ANY(ARRAY(SELECT id FROM verdict))
        RETURNING job.id, job.fence, job.attempt, job.run_at, job.finished_at, verdict.event, verdict.code
    ), logged AS (
        INSERT INTO job_event (job_id, event, attempt, fence, code, next_run_at)
        SELECT id, event, attempt, fence, code, CASE WHEN finished_at IS NULL THEN run_at END
        FROM finished WHERE event IS NOT NULL
    )
    SELECT id FROM finished
    """  # noqa: S608 - constants of ours
)


def rescue(connection: Connection, *, limit: int) -> int:
    """Free jobs whose lease ran out, because their worker died or lost the database; gives how many.

    The first death costs no time. After the second, jobs that died together are spread over half a minute, so that
    the one among them that kills its worker meets fewer of the others.
    """
    values = {"limit": limit, "burial": DEATHS_BEFORE_BURIAL}
    batches = connection.execute(_HOLD_BATCHES_OF_THE_BURIED, values).scalars().all()
    rescued = connection.execute(_RESCUE, {**values, "batches": batches}).rowcount
    if batches:
        batch.settle(connection, batches)
    return rescued


# A batch that somebody else holds at this moment has its dead buried the next time.
_HOLD_BATCHES_OF_THE_BURIED = text(
    """
    SELECT id FROM job_batch WHERE id IN (
        SELECT batch_id FROM job
        WHERE state = 'running' AND lease_until < now() AND crashes + 1 >= :burial AND batch_id IS NOT NULL
    ) ORDER BY id FOR UPDATE SKIP LOCKED
    """
)

_RESCUE = text(
    """
    WITH dead AS (
        SELECT id FROM job WHERE state = 'running' AND lease_until < now()
          AND (batch_id IS NULL OR crashes + 1 < :burial OR batch_id = ANY(CAST(:batches AS uuid[])))
        ORDER BY lease_until LIMIT :limit FOR UPDATE SKIP LOCKED
    ), rescued AS (
        UPDATE job SET
            state = CASE WHEN crashes + 1 >= :burial THEN 'failed' ELSE 'ready' END,
            finished_at = CASE WHEN crashes + 1 >= :burial THEN now() END,
            crashes = crashes + 1,
            run_at = now() + CASE WHEN crashes = 0 THEN interval '0' ELSE random() * interval '30 seconds' END,
            lease_until = NULL, leased_by = NULL, hinted_at = NULL,
            error_code = 'worker_died',
            error_message = 'The worker that ran it died or lost the database.',
            waiting_for = CASE WHEN crashes + 1 < :burial THEN 'a worker, after the last one died' END
        FROM dead WHERE job.id = dead.id
        RETURNING job.id, attempt, fence, run_at, finished_at
    )
    INSERT INTO job_event (job_id, event, attempt, fence, code, next_run_at)
    SELECT id, 'crashed', attempt, fence, 'worker_died', CASE WHEN finished_at IS NULL THEN run_at END FROM rescued
    """
)


def request_cancel(connection: Connection, job_id: UUID, by: str | None = None) -> bool:
    """Ask for a job to stop, waiting or running; whether it was still alive. It ends at its next claim or renewal.

    A waiting one is claimed for that at once, whenever it was to run. Asking twice is asking once.
    """
    return connection.execute(_REQUEST_CANCEL, {"id": job_id, "by": by}).first() is not None


_REQUEST_CANCEL = text(
    """
    WITH asked AS (
        UPDATE job SET
            cancel_requested_at = coalesce(cancel_requested_at, now()),
            hinted_at = CASE WHEN cancel_requested_at IS NULL AND state = 'ready' THEN NULL ELSE hinted_at END
        WHERE id = :id AND state IN ('ready', 'running')
        RETURNING id, attempt, fence, cancel_requested_at = now() AS is_first
    ), logged AS (
        INSERT INTO job_event (job_id, event, attempt, fence, "by")
        SELECT id, 'cancel_requested', attempt, fence, :by FROM asked WHERE is_first
    )
    SELECT id FROM asked
    """
)
