"""Looking at batches: which there are, and how far each step of one is. Reads only."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from models.vocabularies import OnFailure
from worker.errors import BadRequest

LIST_MAX = 1000


@dataclass(frozen=True, slots=True)
class StepProgress:
    """How the jobs of one step stand."""

    step: int
    ready: int
    running: int
    done: int
    failed: int
    cancelled: int
    expired: int

    @property
    def open(self) -> int:
        return self.ready + self.running

    @property
    def jobs(self) -> int:
        return self.open + self.done + self.failed + self.cancelled + self.expired


@dataclass(frozen=True, slots=True)
class BatchLine:
    """One batch in a list. `step` is the one at work; the jobs of all steps are counted."""

    id: UUID
    name: str
    tenant: str
    step: int
    jobs: int
    open: int
    done: int
    on_failure: OnFailure
    callback_kind: str | None
    callback_job_id: UUID | None
    cancel_requested_at: datetime | None
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class BatchDetails:
    """One batch and how each of its steps stands."""

    batch: BatchLine
    steps: list[StepProgress]


def batches(
    connection: Connection, *, tenant: str | None = None, is_open: bool = False, limit: int = 50
) -> list[BatchLine]:
    """The newest batches, only those that are not over if `is_open`. Raises `BadRequest` with code bad_limit."""
    if not 0 < limit <= LIST_MAX:
        raise BadRequest("bad_limit", f"the limit must lie between 1 and {LIST_MAX}, not at {limit}")
    values = {"id": None, "tenant": tenant, "is_open": is_open, "limit": limit}
    return [BatchLine(*row) for row in connection.execute(_BATCHES, values)]


def progress(connection: Connection, batch_id: UUID) -> BatchDetails:
    """How far a batch is. Raises `BadRequest` with code unknown_batch."""
    values = {"id": batch_id, "tenant": None, "is_open": False, "limit": 1}
    row = connection.execute(_BATCHES, values).one_or_none()
    if row is None:
        raise BadRequest("unknown_batch", f"there is no batch {batch_id}")
    return BatchDetails(BatchLine(*row), [StepProgress(*step) for step in connection.execute(_STEPS, {"id": batch_id})])


_BATCHES = text(
    """
    SELECT batch.id, name, tenant, batch.step, counted.jobs, counted.open, counted.done, on_failure, callback_kind,
        callback_job_id, cancel_requested_at, created_at, finished_at
    FROM (
        SELECT * FROM job_batch
        WHERE (CAST(:id AS uuid) IS NULL OR id = :id) AND (CAST(:tenant AS text) IS NULL OR tenant = :tenant)
          AND (NOT :is_open OR finished_at IS NULL)
        ORDER BY created_at DESC, id LIMIT :limit
    ) AS batch
    CROSS JOIN LATERAL (
        SELECT count(*) AS jobs, count(*) FILTER (WHERE state IN ('ready', 'running')) AS open,
            count(*) FILTER (WHERE state = 'done') AS done
        FROM job WHERE batch_id = batch.id
    ) AS counted
    ORDER BY created_at DESC, batch.id
    """
)

_STEPS = text(
    """
    SELECT step, count(*) FILTER (WHERE state = 'ready'), count(*) FILTER (WHERE state = 'running'),
        count(*) FILTER (WHERE state = 'done'), count(*) FILTER (WHERE state = 'failed'),
        count(*) FILTER (WHERE state = 'cancelled'), count(*) FILTER (WHERE state = 'expired')
    FROM job WHERE batch_id = :id GROUP BY step ORDER BY step
    """
)
