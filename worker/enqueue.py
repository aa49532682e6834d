"""How anyone asks for a job, inside the caller's own transaction.

The job exists if and only if that transaction commits. After the commit a hint is sent; if the broker is away, nothing
fails and the dispatcher finds the row a second later. Bad input raises `BadRequest` and leaves the transaction usable.
Without a session the job has a transaction of its own, on the database that DATABASE_URL names. Within an
`AsyncSession`: `await session.run_sync(enqueue_verification, integration=...)`.

Light on purpose, because every upstream application loads it: what only a call needs is imported by the call.
"""

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from worker.commit_hints import hint_after_commit
from worker.errors import BadRequest
from worker.traces import traceparent

if TYPE_CHECKING:
    from sqlalchemy import Connection, TextClause
    from sqlalchemy.orm import Session

    from worker.database import Database
    from worker.job import Kind


VehicleSearchKey = Literal["vin", "plate"]
How = Literal["new", "joined", "cached", "repeated"]
"""The provider is asked; the same question is under way; its answer is here; the job of this idempotency key."""


@dataclass(frozen=True, slots=True)
class Enqueued:
    """`is_new` is False where an idempotency key named a job that was there already."""

    job_id: UUID
    is_new: bool


@dataclass(frozen=True, slots=True)
class EnqueuedVerification(Enqueued):
    """`request_id` is the `integration_request` that will hold the question, the answer and the status.

    `how` says where its answer will come from, as far as is known now; the job decides when it begins.
    """

    request_id: int
    how: How


def enqueue_verification(
    session: "Session | Connection | None" = None,
    *,
    integration: str,
    driver_id: int | None = None,
    vehicle_id: int | None = None,
    address_id: int | None = None,
    search_by: VehicleSearchKey | None = None,
    quote_id: UUID | None = None,
    producer: str | None = None,
    program: str | None = None,
    environment: str = "sandbox",
    tenant: str | None = None,
    priority: int = 4,
    deadline: timedelta | None = None,
    idempotency_key: str | None = None,
    correlation_id: str | None = None,
    force: bool = False,
    groups: Collection[str] | None = None,
) -> EnqueuedVerification:
    """Ask for a verification through `integration` (a `third_party_integration.code`).

    Household drivers and criminal records take a `driver_id`. Vehicles take a `vehicle_id`, searched by its VIN or, if
    `search_by` says so, its plate; or an `address_id`: which vehicles are there, and which of them are the quote's.

    The nearest configuration decides how: of `producer`, then `program` (both codes), then the system's. `tenant`,
    by default the producer, is whose turn it takes in the queue; `priority` runs from 0, the most urgent, to 9.
    `deadline` counts from now: a job that has not begun by then ends as expired. The same `idempotency_key` within a
    day gives the same job.

    A question that the tenant has asked before, with nothing changed since, is not asked again while its answer is
    valid, and joins the one under way; the job, the request and its results are its own nevertheless. `force` has the
    provider asked anyway, and needs the right to: the platform has it, a caller without a user names its `groups`.

    Raises `BadRequest` with code unknown_integration, unsupported_integration, integration_disabled, no_driver,
    no_vehicle, wrong_subject, unknown_driver, unknown_vehicle, unknown_address, incomplete_vehicle, incomplete_address,
    bad_search_by, unknown_quote, unknown_producer, unknown_program, no_configuration, configuration_error,
    idempotency_conflict, bad_priority, bad_deadline, bad_correlation_id or forbidden; nothing is written then.
    """
    values = {
        "integration": integration,
        "driver_id": driver_id,
        "vehicle_id": vehicle_id,
        "address_id": address_id,
        "search_by": search_by,
        "quote_id": quote_id,
        "producer": producer,
        "program": program,
        "environment": environment,
        "tenant": tenant,
        "priority": priority,
        "deadline": deadline,
        "idempotency_key": idempotency_key,
        "correlation_id": correlation_id,
        "force": force,
        "groups": None if groups is None else sorted(groups),
    }
    with transaction_of(session) as session:
        row = session.execute(statement(_VERIFICATION), values).one()
        if row.problem_code is not None:
            raise BadRequest(row.problem_code, f"{row.problem[0].upper()}{row.problem[1:]}.")
        if row.is_new:
            hint_after_commit(session, [("verification", "verification.verify", row.job_id)])
    return EnqueuedVerification(row.job_id, row.is_new, row.request_id, row.how)


_VERIFICATION = """
    SELECT * FROM try_enqueue_verification(
        :integration, :driver_id, :quote_id, :producer, :program, :environment, :tenant, :priority,
        CAST(:deadline AS interval), :idempotency_key, :correlation_id, p_vehicle_id => :vehicle_id,
        p_address_id => :address_id, p_search_by => :search_by, p_force => :force,
        p_groups => CAST(:groups AS text[])
    )
"""


def enqueue_recalculation(
    session: "Session | Connection | None" = None,
    *,
    quote_id: UUID,
    reason: str = "asked",
    tenant: str = "system",
    priority: int = 4,
    idempotency_key: str | None = None,
) -> Enqueued:
    """Ask for a quote's premium to be brought up to date; one that waits for it already is joined.

    `reason` is a code for those who read the ledger. With an `idempotency_key` the same key within a day gives the same
    job. Raises `BadRequest` with code unknown_quote, quote_closed (bound, expired and declined quotes keep their
    premium), bad_reason, bad_priority or idempotency_conflict; nothing is written then.
    """
    values = {
        "quote_id": quote_id,
        "reason": reason,
        "tenant": tenant,
        "priority": priority,
        "idempotency_key": idempotency_key,
    }
    return _ask_for_rating(session, "rating.recalculate", _RECALCULATION, values)


_RECALCULATION = """
    SELECT * FROM enqueue_quote_recalculation(:quote_id, :reason, :tenant, :priority, :idempotency_key)
"""


def enqueue_recalculations(
    session: "Session | Connection | None" = None,
    *,
    state: str | None = None,
    product_type: str | None = None,
    since: date | None = None,
    until: date | None = None,
    reason: str = "asked",
    dry_run: bool = False,
    drafts: Sequence[UUID] = (),
    tenant: str = "system",
    priority: int = 6,
) -> Enqueued:
    """Ask for all open quotes that match what is given to be brought up to date, in ranges.

    `since` and `until` bound the day a quote's rates are taken from, half-open. A dry run writes nothing: its job's
    `progress` says what would change; `drafts`, ids of rows of the rating tables, then count as active. Raises
    `BadRequest` with code bad_state, bad_product, bad_dates, bad_reason, bad_priority, not_active or unknown_draft.
    """
    values = {
        "state": state,
        "product_type": product_type,
        "since": since,
        "until": until,
        "reason": reason,
        "dry_run": dry_run,
        "drafts": list(drafts),
        "tenant": tenant,
        "priority": priority,
    }
    return _ask_for_rating(session, "rating.recalculate_many", _RECALCULATIONS, values)


_RECALCULATIONS = """
    SELECT * FROM enqueue_quotes_recalculation(
        :state, :product_type, CAST(:since AS date), CAST(:until AS date), :reason, :dry_run, CAST(:drafts AS uuid[]),
        :tenant, :priority
    )
"""


def _ask_for_rating(session: "Session | Connection | None", kind: str, sql: str, values: Mapping[str, Any]) -> Enqueued:
    with transaction_of(session) as session:
        row = session.execute(statement(sql), values).one()
        if row.problem_code is not None:
            raise BadRequest(row.problem_code, f"{row.problem[0].upper()}{row.problem[1:]}.")
        if row.is_new:
            hint_after_commit(session, [("rating", kind, row.job_id)])
    return Enqueued(row.job_id, row.is_new)


def enqueue(
    session: "Session | Connection | None",
    kind: "Kind",
    args: Mapping[str, Any] | None = None,
    *,
    tenant: str = "system",
    priority: int = 4,
    run_at: datetime | None = None,
    idempotency_key: str | None = None,
) -> Enqueued:
    """Ask for a job of any declared kind. `args` are ids and plain values, never personal data."""
    values = {
        "kind": kind.name,
        "queue": kind.queue,
        "args": json.dumps(dict(args or {})),
        "tenant": tenant,
        "priority": priority,
        "run_at": run_at,
        "max_attempts": kind.max_attempts,
        "idempotency_key": idempotency_key,
    }
    with transaction_of(session) as session:
        row = session.execute(statement(_JOB), values).one()
        if row.is_new and run_at is None:
            hint_after_commit(session, [(kind.queue, kind.name, row.job_id)])
    return Enqueued(row.job_id, row.is_new)


_JOB = """
    SELECT job_id, is_new FROM insert_job(
        :kind, :queue, CAST(:args AS jsonb), p_tenant => :tenant, p_priority => :priority, p_run_at => :run_at,
        p_max_attempts => :max_attempts, p_idempotency_key => :idempotency_key
    )
"""


@contextmanager
def transaction_of(session: "Session | Connection | None") -> Iterator["Session | Connection"]:
    """The caller's, or without one a transaction that commits at the end."""
    if session is not None:
        _tell_trace(session)
        yield session
        return
    with _database(os.getpid()).transaction() as connection:
        _tell_trace(connection)
        yield connection


def _tell_trace(session: "Session | Connection") -> None:
    """The default of `job.trace_context` reads it."""
    if (context := traceparent()) is not None:
        session.execute(statement("SELECT set_config('worker.traceparent', :context, true)"), {"context": context})


@cache
def _database(process: int) -> "Database":
    """Of this process: connections opened before a fork belong to the parent."""
    from worker.database import Database
    from worker.settings import load_database_settings

    return Database(load_database_settings())


@cache
def statement(sql: str) -> "TextClause":
    """SQL, prepared at its first use: importing SQLAlchemy takes longer than all else here."""
    from sqlalchemy import text

    return text(sql)
