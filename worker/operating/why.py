"""Why is my job not running? The cause as a word for programs, a sentence for people, and the facts behind it.

One statement gathers the facts, in one snapshot; `worker.operating.cause` decides.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from models.ledger import DUE_RANK
from worker.errors import BadRequest
from worker.operating.cause import Cause, Facts, cause
from worker.pauses import holds_back
from worker.process.presence import AT_WORK_FOR


@dataclass(frozen=True, slots=True)
class Why:
    """The answer. `facts` holds what the cause was found from: times, names and counts, without empty ones."""

    code: Cause
    sentence: str
    facts: dict[str, Any]


def why(connection: Connection, job_id: UUID) -> Why:
    """Why the job is where it is. Raises `BadRequest` with code unknown_job."""
    row = connection.execute(_FACTS, {"id": job_id, "at_work_for": AT_WORK_FOR}).one_or_none()
    if row is None:
        raise BadRequest("unknown_job", f"there is no job {job_id}")
    facts = Facts(*row)
    code, sentence = cause(facts)
    named = ((name, getattr(facts, name)) for name in _TOLD[code])
    return Why(code, sentence, {name: value for name, value in named if value is not None})


_PAUSE = ("pause_queue", "pause_kind", "pause_tenant", "pause_resource", "paused_by", "paused_at", "pause_reason",
          "paused_until")  # fmt: skip
_LISTENERS = ("queue", "workers", "listener_last_seen_at")
_ERROR = ("error_code", "error_message", "attempt", "max_attempts", "crashes")
_TOLD: dict[Cause, tuple[str, ...]] = {
    "done": ("finished_at",),
    "failed": ("finished_at", *_ERROR),
    "quarantined": ("finished_at", *_ERROR),
    "cancelled": ("finished_at", "cancel_requested_at"),
    "expired": ("finished_at", "deadline_at"),
    "running": ("started_at", "leased_by", "lease_until", "attempt", "crashes"),
    "stopping": ("cancel_requested_at", "leased_by", "lease_until"),
    "lease_ran_out": ("leased_by", "lease_until", "crashes", *_LISTENERS),
    "cancel_requested": ("cancel_requested_at", *_LISTENERS),
    "deadline_passed": ("deadline_at", *_LISTENERS),
    "paused": (*_PAUSE, "run_at", "deadline_at"),
    "retry_later": ("run_at", "waiting_for", *_ERROR),
    "snoozed": ("run_at", "waiting_for"),
    "crashed": ("run_at", "waiting_for", "crashes"),
    "waits_for_step": ("batch_id", "batch_name", "batch_step", "batch_step_open", "batch_step_jobs"),
    "scheduled": ("run_at",),
    "no_worker": _LISTENERS,
    "hinted": ("hinted_at",),
    "waits_for_turn": ("tenant", "ahead", "tenants", "workers", "in_flight", "calls_in_flight"),
}

_FACTS = text(
    f"""
    WITH mine AS (
        SELECT *, {DUE_RANK} AS rank, state = 'ready' AND run_at <= now() AS is_due FROM job WHERE id = :id
    )
    SELECT now(), mine.state, mine.queue, mine.tenant, mine.run_at, mine.deadline_at, mine.attempt, mine.max_attempts,
        mine.crashes, mine.leased_by, mine.lease_until, mine.hinted_at, mine.cancel_requested_at, mine.waiting_for,
        mine.error_code, mine.error_message, mine.started_at, mine.finished_at,
        (SELECT event FROM job_event WHERE job_id = mine.id ORDER BY id DESC LIMIT 1),
        pause.queue, pause.kind, pause.tenant, pause.resource,
        pause.paused_by, pause.paused_at, pause.reason, pause.until,
        listeners.workers, listeners.in_flight, listeners.calls_in_flight, listeners.last_seen_at,
        turn.ahead, turn.tenants, batch.id, batch.name, batch.step, batch.open, batch.jobs
    FROM mine
    LEFT JOIN LATERAL (
        SELECT * FROM job_pause WHERE {holds_back("mine.queue", "mine.kind", "mine.tenant", "mine.resource")}
        ORDER BY until DESC NULLS FIRST, paused_at LIMIT 1
    ) AS pause ON true
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE is_here) AS workers,
            coalesce(sum(in_flight) FILTER (WHERE is_here), 0) AS in_flight,
            coalesce(sum(calls_in_flight) FILTER (WHERE is_here), 0) AS calls_in_flight,
            max(seen_at) AS last_seen_at
        FROM (
            SELECT *, seen_at > now() - :at_work_for AS is_here FROM worker_process WHERE mine.queue = ANY(queues)
        ) AS process
    ) AS listeners
    LEFT JOIN LATERAL (
        SELECT count(*) FILTER (WHERE job.tenant = mine.tenant AND {DUE_RANK} < mine.rank) AS ahead,
            count(DISTINCT job.tenant) AS tenants
        FROM job
        WHERE mine.is_due AND state = 'ready' AND queue = mine.queue AND run_at <= now() AND NOT EXISTS (
            SELECT FROM job_pause WHERE {holds_back("job.queue", "job.kind", "job.tenant", "job.resource")}
        )
    ) AS turn ON true
    LEFT JOIN LATERAL (
        SELECT job_batch.id, name, job_batch.step, count(*) FILTER (WHERE job.state IN ('ready', 'running')) AS open,
            count(job.id) AS jobs
        FROM job_batch LEFT JOIN job ON job.batch_id = job_batch.id AND job.step = job_batch.step
        WHERE job_batch.id = mine.batch_id AND job_batch.step < mine.step AND job_batch.finished_at IS NULL
        GROUP BY job_batch.id
    ) AS batch ON true
    """  # noqa: S608 - constants of ours
)
