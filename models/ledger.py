"""The ledger: one row for every job of every kind, and a narrow log of what happened to it on the way.

`job` is small and hot: it holds ids and plain values, never personal data, and the indexes that work needs are partial
ones that finished rows leave. A snoozed or scheduled job is `ready` with a later `run_at`. Beside it stand what
operators paused, and which processes are at work.
"""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    SmallInteger,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, BigId, UuidId, choice
from models.facts import NOT_PERSONAL, kept, kept_while_used, kept_with, personal
from models.vocabularies import JobEventName, JobState, OnFailure

DUE_RANK = "(run_at - '2000-01-01 00:00:00+00'::timestamp with time zone + priority * '00:01:00'::interval)"
"""Order in which due jobs of one tenant start: a step of priority is worth a minute of waiting, so nothing starves."""

LANE_RESOURCE = "COALESCE(resource, ''::text)"
"""Jobs of one queue, tenant, kind and resource wait in one lane; no resource is a lane like any other."""

ENDING = "LEAST(deadline_at, cancel_requested_at)"
"""When a waiting job has to end without running; NULL for most."""

ENTRY = "COALESCE(entry, kind)"
"""Whose slot a job with `scheduled_for` is. Jobs from before entries had names have their kind's."""

_TRACEPARENT = "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"
TRACE_CONTEXT = f"\"substring\"(current_setting('worker.traceparent'::text, true), '{_TRACEPARENT}'::text)"
"""What the transaction that asks for a job has said of its trace."""

_COUNTER = text("0")


class Job(Base):
    """One job. Whoever holds `fence` while the state is `running` may finish it; `lease_until` says for how long."""

    __tablename__ = "job"
    __table_args__ = (
        CheckConstraint("priority BETWEEN 0 AND 9", name="priority"),
        CheckConstraint("attempt >= 0 AND crashes >= 0 AND max_attempts > 0", name="counters"),
        CheckConstraint("(state = 'running') = (lease_until IS NOT NULL)", name="lease"),
        CheckConstraint(
            "(state IN ('done', 'failed', 'cancelled', 'expired')) = (finished_at IS NOT NULL)", name="finished"
        ),
        Index(
            "idx_job_lane",
            "queue",
            "tenant",
            "kind",
            text(LANE_RESOURCE),
            text(DUE_RANK),
            postgresql_where=text("state = 'ready'"),
        ),
        Index(
            "idx_job_ending",
            "queue",
            text(ENDING),
            postgresql_where=text(f"state = 'ready' AND {ENDING} IS NOT NULL"),
        ),
        Index(
            "idx_job_quote",
            text("(args ->> 'quote_id')"),
            postgresql_where=text("state = 'ready' AND kind = 'rating.recalculate'"),
        ),
        Index("idx_job_parent", "parent_id", postgresql_where=text("parent_id IS NOT NULL")),
        Index("idx_job_finished", "finished_at", "id", postgresql_where=text("finished_at IS NOT NULL")),
        Index("idx_job_failed", "finished_at", postgresql_where=text("state = 'failed'")),
        Index("idx_job_running", "lease_until", postgresql_where=text("state = 'running'")),
        Index("idx_job_tenant_created", "tenant", "created_at", "id"),
        Index("idx_job_batch", "batch_id", "step", postgresql_where=text("batch_id IS NOT NULL")),
        Index(
            "idx_job_batch_open",
            "batch_id",
            "step",
            postgresql_where=text("batch_id IS NOT NULL AND state IN ('ready', 'running')"),
        ),
        Index(
            "uq_job_idempotency_key",
            "tenant",
            "kind",
            "idempotency_key",
            unique=True,
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
        Index(
            "uq_job_entry_slot",
            text(ENTRY),
            "scheduled_for",
            unique=True,
            postgresql_where=text("scheduled_for IS NOT NULL"),
        ),
        {
            "info": kept(90, since="finished_at", why="long enough to explain a job's fate to whoever asked for it"),
            # Vacuum after every few hundred dead rows, however large the history: each job dies twice on its way.
            "postgresql_with": {
                "fillfactor": "80",
                "autovacuum_vacuum_scale_factor": "0",
                "autovacuum_vacuum_threshold": "500",
                "autovacuum_vacuum_cost_delay": "0",
                "autovacuum_analyze_scale_factor": "0",
                "autovacuum_analyze_threshold": "5000",
            },
        },
    )

    id: Mapped[UuidId]
    kind: Mapped[str] = mapped_column(info=NOT_PERSONAL)
    queue: Mapped[str] = mapped_column(info=NOT_PERSONAL)
    tenant: Mapped[str] = mapped_column(server_default=text("'system'"), info=NOT_PERSONAL)
    resource: Mapped[str | None] = mapped_column(info=NOT_PERSONAL)
    """What outside thing it needs, such as an integration's code: something that can be paused or be down."""

    priority: Mapped[int] = mapped_column(SmallInteger, server_default=text("4"))
    """0 is the most urgent, 9 the least."""

    args: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"), info=NOT_PERSONAL)
    state: Mapped[JobState] = mapped_column(choice("state", JobState), server_default=text("'ready'"))
    run_at: Mapped[datetime] = mapped_column(server_default=func.now())
    deadline_at: Mapped[datetime | None]

    attempt: Mapped[int] = mapped_column(server_default=_COUNTER)
    max_attempts: Mapped[int] = mapped_column(server_default=text("5"))
    crashes: Mapped[int] = mapped_column(server_default=_COUNTER)

    lease_until: Mapped[datetime | None]
    leased_by: Mapped[str | None] = mapped_column(info=NOT_PERSONAL)
    fence: Mapped[int] = mapped_column(BigInteger, server_default=_COUNTER)
    hinted_at: Mapped[datetime | None]
    """When the dispatcher last sent a hint; NULL while none is known to be under way."""

    idempotency_key: Mapped[str | None] = mapped_column(info=NOT_PERSONAL)
    idempotency_until: Mapped[datetime | None]
    fingerprint: Mapped[str | None] = mapped_column(info=NOT_PERSONAL)
    """What the key was first used for: the same key with another fingerprint is refused."""

    scheduled_for: Mapped[datetime | None]
    """The clock's slot that it is; for a run that somebody asked for by hand, the moment of that."""

    entry: Mapped[str | None] = mapped_column(info=NOT_PERSONAL)
    """Name of the clock's entry whose slot it is."""

    trace_context: Mapped[str | None] = mapped_column(server_default=text(TRACE_CONTEXT), info=NOT_PERSONAL)
    """W3C Trace Context of whoever asked for it."""

    cancel_requested_at: Mapped[datetime | None]
    waiting_for: Mapped[str | None] = mapped_column(info=NOT_PERSONAL)
    error_code: Mapped[str | None] = mapped_column(info=NOT_PERSONAL)
    error_message: Mapped[str | None] = mapped_column(info=NOT_PERSONAL)
    progress: Mapped[dict[str, Any] | None] = mapped_column(info=NOT_PERSONAL)
    batch_id: Mapped[uuid.UUID | None]
    step: Mapped[int | None]
    """Of its batch, from 1. While the batch is at an earlier one, `run_at` lies beyond all times."""

    parent_id: Mapped[uuid.UUID | None]

    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class JobBatch(Base):
    """Jobs in ordered steps. The jobs' own rows say what is left to do; here stands what comes then."""

    __tablename__ = "job_batch"
    __table_args__ = (
        CheckConstraint(
            "(callback_kind IS NULL) = (callback_queue IS NULL)"
            " AND callback_priority BETWEEN 0 AND 9 AND callback_max_attempts > 0",
            name="callback",
        ),
        Index("idx_job_batch_created", "created_at"),
        Index("idx_job_batch_finished_at", "finished_at", "id", postgresql_where=text("finished_at IS NOT NULL")),
        {"info": kept(90, since="finished_at", why="as long as its jobs")},
    )

    id: Mapped[UuidId]
    name: Mapped[str] = mapped_column(info=NOT_PERSONAL)
    """What it is for, in a word: household, recalculation."""

    tenant: Mapped[str] = mapped_column(server_default=text("'system'"), info=NOT_PERSONAL)
    step: Mapped[int] = mapped_column(server_default=text("1"))
    """The one that is at work; the last one that was, once the batch is over."""

    on_failure: Mapped[OnFailure] = mapped_column(choice("on_failure", OnFailure), server_default=text("'continue'"))
    callback_kind: Mapped[str | None] = mapped_column(info=NOT_PERSONAL)
    callback_queue: Mapped[str | None] = mapped_column(info=NOT_PERSONAL)
    callback_args: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"), info=NOT_PERSONAL)
    callback_priority: Mapped[int] = mapped_column(SmallInteger, server_default=text("4"))
    callback_max_attempts: Mapped[int] = mapped_column(server_default=text("5"))
    callback_job_id: Mapped[uuid.UUID | None]
    cancel_requested_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]


class JobEvent(Base):
    """Something a job's own row can't tell any more: a retry, a snooze, a death, an unhappy end, an operator's deed."""

    __tablename__ = "job_event"
    __table_args__ = (Index("idx_job_event_job", "job_id", "id"), {"info": kept_with("job")})

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    event: Mapped[JobEventName] = mapped_column(choice("event", JobEventName))
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    attempt: Mapped[int]
    fence: Mapped[int] = mapped_column(BigInteger)
    code: Mapped[str | None] = mapped_column(info=NOT_PERSONAL)
    next_run_at: Mapped[datetime | None]
    by: Mapped[str | None] = mapped_column(info=personal("name"))
    """Account name of the operator or program whose deed it was."""


class JobPause(Base):
    """Waiting jobs that match every column of the scope that is set stay where they are; running ones run on."""

    __tablename__ = "job_pause"
    __table_args__ = (
        CheckConstraint("coalesce(queue, kind, tenant, resource) IS NOT NULL", name="scope"),
        CheckConstraint(
            "queue <> '' AND kind <> '' AND tenant <> '' AND resource <> '' AND reason <> ''", name="words"
        ),
        UniqueConstraint("queue", "kind", "tenant", "resource", postgresql_nulls_not_distinct=True),
        {"info": kept_while_used("it goes when somebody resumes, or with the next pause after its time is over")},
    )

    id: Mapped[BigId]
    queue: Mapped[str | None] = mapped_column(info=NOT_PERSONAL)
    kind: Mapped[str | None] = mapped_column(info=NOT_PERSONAL)
    tenant: Mapped[str | None] = mapped_column(info=NOT_PERSONAL)
    resource: Mapped[str | None] = mapped_column(info=NOT_PERSONAL)
    reason: Mapped[str] = mapped_column(info=personal("free_text"))
    paused_by: Mapped[str] = mapped_column(info=personal("name"))
    """Account name of the operator or program."""

    paused_at: Mapped[datetime] = mapped_column(server_default=func.now())
    until: Mapped[datetime | None]


class WorkerProcess(Base):
    """A process that runs jobs, as it last said itself. One that ended in an orderly way has no row."""

    __tablename__ = "worker_process"
    __table_args__ = (
        CheckConstraint("in_flight >= 0 AND calls_in_flight > 0", name="counters"),
        {
            "info": kept_while_used("others remove the rows of processes that were not seen for an hour"),
            "postgresql_with": {
                "fillfactor": "50",
                "autovacuum_vacuum_scale_factor": "0",
                "autovacuum_vacuum_threshold": "500",
            },
        },
    )

    owner: Mapped[str] = mapped_column(primary_key=True, info=NOT_PERSONAL)
    """The same as `job.leased_by`."""

    queues: Mapped[list[str]] = mapped_column(ARRAY(Text), info=NOT_PERSONAL)
    """What it takes jobs from; nothing while it ends."""

    hostname: Mapped[str] = mapped_column(info=NOT_PERSONAL)
    pid: Mapped[int]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    in_flight: Mapped[int]
    calls_in_flight: Mapped[int]
    """How many it works on at the same time, at most."""
