"""Asking for many jobs at once: a handful of statements and a few messages, however many they are.

Each job is checked and answered on its own. One that is refused does not stop the others, so a refusal is a value here
and no exception.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from worker.commit_hints import hint_after_commit
from worker.enqueue import Enqueued, EnqueuedVerification, VehicleSearchKey, statement, transaction_of

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from worker.job import Kind

ROWS_IN_A_STATEMENT = 10_000
"""A statement is over in about a second, well within its timeout."""


@dataclass(frozen=True, slots=True)
class Verification:
    """One to ask for; the fields are those of `enqueue_verification`."""

    integration: str
    driver_id: int | None = None
    vehicle_id: int | None = None
    address_id: int | None = None
    search_by: VehicleSearchKey | None = None
    quote_id: UUID | None = None
    producer: str | None = None
    program: str | None = None
    environment: str = "sandbox"
    tenant: str | None = None
    priority: int = 4
    deadline: timedelta | None = None
    idempotency_key: str | None = None
    correlation_id: str | None = None
    force: bool = False
    groups: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Why one can't be asked for: a code of `enqueue_verification`, and a sentence."""

    code: str
    sentence: str


def enqueue_verifications(
    session: "Session | Connection | None",
    asked: Sequence[Verification],
    *,
    traceparents: Sequence[str | None] | None = None,
    lock_timeout: timedelta | None = None,
) -> list[EnqueuedVerification | Refused]:
    """Ask for many verifications; gives what became of each, in their order.

    With the same checks and the same rows as `enqueue_verification` for one after the other, in the caller's
    transaction or one of their own. `traceparents` go with them in order, where they do not all belong to the current
    trace. From here on the transaction waits for another's lock no longer than `lock_timeout`, if one is given.
    """
    results: list[EnqueuedVerification | Refused] = []
    traces = traceparents if traceparents is not None else [None] * len(asked)
    told = [_told(one, trace) for one, trace in zip(asked, traces, strict=True)]
    patience = None if lock_timeout is None else f"{lock_timeout / timedelta(milliseconds=1):.0f}ms"
    with transaction_of(session) as session:
        for start in range(0, len(asked), ROWS_IN_A_STATEMENT):
            values = {"asked": json.dumps(told[start : start + ROWS_IN_A_STATEMENT]), "lock_timeout": patience}
            rows = session.execute(statement(_VERIFICATIONS), values)
            found = [_result(row) for row in rows]
            hint_after_commit(
                session,
                [
                    ("verification", "verification.verify", one.job_id)
                    for one in found
                    if isinstance(one, EnqueuedVerification) and one.is_new
                ],
            )
            results += found
    return results


_VERIFICATIONS = """
    SELECT job_id, request_id, is_new, how, problem_code, problem
    FROM try_enqueue_verifications(CAST(:asked AS jsonb), :lock_timeout) ORDER BY n
"""


def _told(one: Verification, traceparent: str | None) -> dict[str, Any]:
    """What is given of it: for what is not, SQL has the same defaults."""
    told = {name: value for name in _FIELDS if (value := getattr(one, name)) is not None}
    if one.quote_id is not None:
        told["quote_id"] = str(one.quote_id)
    if one.deadline is not None:
        told["deadline"] = f"{one.deadline.total_seconds()} s"
    if one.groups is not None:
        told["groups"] = sorted(one.groups)
    if traceparent is not None:
        told["traceparent"] = traceparent
    return told


_FIELDS = [field.name for field in fields(Verification)]


def _result(row: Any) -> EnqueuedVerification | Refused:
    if row.problem_code is not None:
        return Refused(row.problem_code, f"{row.problem[0].upper()}{row.problem[1:]}.")
    return EnqueuedVerification(row.job_id, row.is_new, row.request_id, row.how)


def enqueue_many(
    session: "Session | Connection | None",
    kind: "Kind",
    args: Sequence[Mapping[str, Any]],
    *,
    tenant: str = "system",
    priority: int = 4,
    idempotency_keys: Sequence[str | None] | None = None,
) -> list[Enqueued]:
    """Ask for many jobs of one declared kind, one for each of `args`; `idempotency_keys` go with them in order."""
    keys = idempotency_keys if idempotency_keys is not None else [None] * len(args)
    asked = [{"args": dict(one), "key": key} for one, key in zip(args, keys, strict=True)]
    results: list[Enqueued] = []
    with transaction_of(session) as session:
        for start in range(0, len(asked), ROWS_IN_A_STATEMENT):
            values = {
                "kind": kind.name,
                "queue": kind.queue,
                "asked": json.dumps(asked[start : start + ROWS_IN_A_STATEMENT]),
                "tenant": tenant,
                "priority": priority,
                "max_attempts": kind.max_attempts,
            }
            found = [Enqueued(row.job_id, row.is_new) for row in session.execute(statement(_JOBS), values)]
            hint_after_commit(session, [(kind.queue, kind.name, one.job_id) for one in found if one.is_new])
            results += found
    return results


# What has no key is written as a set, at a fifth of the cost. Keys go one after the other, through the function that
# knows what to do where one is taken; in their order, so that two bulks with the same ones can't wait for each other.
_JOBS = """
    WITH asked AS MATERIALIZED (
        SELECT n, gen_random_uuid() AS id, one -> 'args' AS args, one ->> 'key' AS key
        FROM jsonb_array_elements(CAST(:asked AS jsonb)) WITH ORDINALITY AS given (one, n)
    ), keyless AS (
        INSERT INTO job (id, kind, queue, tenant, priority, args, max_attempts)
        SELECT id, :kind, :queue, :tenant, CAST(:priority AS integer), args, CAST(:max_attempts AS integer)
        FROM asked WHERE key IS NULL ORDER BY n
    ), keyed AS MATERIALIZED (
        SELECT n, job_id, is_new
        FROM (SELECT * FROM asked WHERE key IS NOT NULL ORDER BY key, n) AS ordered CROSS JOIN LATERAL insert_job(
            :kind, :queue, args, p_tenant => :tenant, p_priority => CAST(:priority AS integer),
            p_max_attempts => CAST(:max_attempts AS integer), p_idempotency_key => key)
    )
    SELECT job_id, is_new
    FROM (SELECT n, id AS job_id, true AS is_new FROM asked WHERE key IS NULL UNION ALL SELECT * FROM keyed) AS found
    ORDER BY n
"""
