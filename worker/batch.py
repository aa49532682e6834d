"""Batches: jobs in ordered steps, and a callback that is asked for exactly once, when all of them are over.

A batch is made of jobs that the caller's transaction has just asked for, of any kinds:

    drivers = [enqueue_verification(session, integration="DCS_HOUSEHOLD_DRIVERS", ...).job_id for ...]
    others = [enqueue_verification(session, integration="DCS_CRIMINAL", ...).job_id, ...]
    enqueue_batch(session, [drivers, others], name="household", callback=Callback(RECALCULATE, {"quote_id": ...}))

The jobs of a step are free when those of the steps before have ended. Whether a step has ended is asked of the jobs
themselves, by whoever ends one, while it holds the batch's row: there is no counter that could be wrong, and the
callback is asked for in the transaction that ends the last job. A job without a batch costs nothing more.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from models.vocabularies import OnFailure
from worker.audit import audit
from worker.errors import BadRequest
from worker.job import Kind


@dataclass(frozen=True, slots=True)
class Callback:
    """The job that is asked for at the end. The batch's id is added to `args` as `batch_id`."""

    kind: Kind
    args: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 4


@dataclass(frozen=True, slots=True)
class EnqueuedBatch:
    """`is_new` is False where all the jobs were in one batch already."""

    batch_id: UUID
    is_new: bool


def enqueue_batch(
    session: Session | Connection,
    steps: Sequence[Collection[UUID]],
    *,
    name: str,
    callback: Callback | None = None,
    on_failure: OnFailure = "continue",
    tenant: str = "system",
) -> EnqueuedBatch:
    """Make a batch of jobs that this very transaction has asked for: `steps` are their ids, in the order of the steps.

    `on_failure` says what becomes of the later steps where a job of an earlier one did not end as done: they run all
    the same, or are cancelled. The callback is asked for in both cases, in the name of `tenant`; it is not where the
    batch is cancelled. A batch of no jobs is over at once.

    A request that is sent again gives the same batch if its jobs have idempotency keys. Raises `BadRequest` with code
    not_one_place (a job is unknown or named twice), not_fresh (it is from another transaction) or has_run_at (a job of
    a later step has a time of its own); nothing is written then.
    """
    values: dict[str, Any] = {
        "steps": [[str(job_id) for job_id in step] for step in steps],
        "name": name,
        "tenant": tenant,
        "on_failure": on_failure,
        "kind": None,
        "queue": None,
        "args": {},
        "priority": 4,
        "max_attempts": 5,
    }
    if callback is not None:
        values |= {
            "kind": callback.kind.name,
            "queue": callback.kind.queue,
            "args": dict(callback.args),
            "priority": callback.priority,
            "max_attempts": callback.kind.max_attempts,
        }
    row = session.execute(_ENQUEUE, values).one()
    if row.problem_code is not None:
        raise BadRequest(row.problem_code, row.problem)
    return EnqueuedBatch(row.batch_id, row.is_new)


_ENQUEUE = text(
    """
    SELECT * FROM try_enqueue_batch(
        :steps, :name, :tenant, :on_failure, :kind, :queue, :args, CAST(:priority AS integer), :max_attempts
    )
    """
).bindparams(bindparam("steps", type_=JSONB), bindparam("args", type_=JSONB))


def hold(connection: Connection, batch_ids: Iterable[UUID]) -> None:
    """Keep others from ending jobs of these batches until the transaction is over. Comes before its first job."""
    connection.execute(_HOLD, {"ids": list(batch_ids)})


_HOLD = text("SELECT FROM job_batch WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR UPDATE")


def settle(connection: Connection, batch_ids: Iterable[UUID]) -> None:
    """Let go of the next step, or ask for the callback, where nothing of what comes before is left to do."""
    connection.execute(_SETTLE, {"ids": list(batch_ids)})


_SETTLE = text("SELECT settle_batches(CAST(:ids AS uuid[]))")


def cancel(connection: Connection, batch_id: UUID, by: str) -> int:
    """Ask all jobs of a batch to stop, waiting or running; gives how many that were. Its callback is not asked for.

    `by` is an account name. Raises `BadRequest` with code unknown_batch or already_over.
    """
    hold(connection, [batch_id])
    finished_at = connection.execute(_FINISHED_AT, {"id": batch_id}).one_or_none()
    if finished_at is None:
        raise BadRequest("unknown_batch", f"there is no batch {batch_id}")
    if finished_at[0] is not None:
        raise BadRequest("already_over", f"batch {batch_id} is over already, since {finished_at[0]:%Y-%m-%d %H:%M:%S}")
    asked = int(connection.execute(_CANCEL, {"id": batch_id, "by": by}).scalar_one())
    audit(
        connection,
        action="batches.cancelled",
        resource_type="job_batch",
        resource_id=batch_id,
        details={"by": by, "jobs": asked},
    )
    return asked


_FINISHED_AT = text("SELECT finished_at FROM job_batch WHERE id = :id")

_CANCEL = text(
    """
    WITH cancelled AS (
        UPDATE job_batch SET cancel_requested_at = coalesce(cancel_requested_at, now()) WHERE id = :id
    )
    SELECT cancel_jobs_of_batch(:id, :by)
    """
)
