"""Verify whom and what a quote covers, in the order in which providers' answers build on each other, and rate it then.

Drivers come first: their answers correct names, licences and addresses. Vehicles and criminal records, which are
searched by those, follow as the second step of a batch, and its callback rates the quote, once.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from worker.bulk import Refused, Verification, enqueue_verifications
from worker.enqueue import EnqueuedVerification, statement, transaction_of
from worker.errors import BadRequest

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from models.vocabularies import OnFailure


@dataclass(frozen=True, slots=True)
class EnqueuedQuoteVerification:
    """The batch and its jobs: drivers first, then vehicles and criminal records. `is_new` as of the batch."""

    batch_id: UUID
    is_new: bool
    drivers: list[EnqueuedVerification]
    others: list[EnqueuedVerification]


def enqueue_quote_verification(
    session: "Session | Connection | None" = None,
    *,
    quote_id: UUID,
    drivers: str = "DCS_HOUSEHOLD_DRIVERS",
    vehicles: str | None = "DCS_HOUSEHOLD_VEHICLES",
    criminal: str | None = "DCS_CRIMINAL",
    producer: str | None = None,
    program: str | None = None,
    environment: str = "sandbox",
    tenant: str | None = None,
    priority: int = 4,
    deadline: timedelta | None = None,
    on_failure: "OnFailure" = "continue",
    idempotency_key: str | None = None,
) -> EnqueuedQuoteVerification:
    """Ask for all drivers of a quote, then its vehicles and the drivers' criminal records, then its premium.

    `drivers`, `vehicles` and `criminal` are codes of integrations; None leaves that part out. A vehicle is searched by
    its VIN, without one by its plate, and left out without either. `on_failure` is what becomes of the second step if
    one of the first fails; the quote is rated in any case. With an `idempotency_key` the same key within a day gives
    the same batch. Everything else is as in `enqueue_verification`.

    Raises `BadRequest` with its codes, or unknown_quote or nothing_to_verify; nothing is written then.
    """
    with transaction_of(session) as session:
        if session.execute(statement(_IS_THERE), {"quote_id": quote_id}).first() is None:
            raise BadRequest("unknown_quote", f"there is no quote {quote_id}")
        covered = session.execute(statement(_COVERED), {"quote_id": quote_id}).all()
        shared: dict[str, Any] = {
            "quote_id": quote_id,
            "producer": producer,
            "program": program,
            "environment": environment,
            "tenant": tenant,
            "priority": priority,
            "deadline": deadline,
        }
        first: list[Verification] = []
        second: list[Verification] = []
        for what, id_, search_by in covered:
            about: dict[str, Any] = {f"{what}_id": id_, "search_by": search_by, **shared}
            if what == "driver":
                first.append(Verification(drivers, **about))
            if what == "driver" and criminal is not None:
                second.append(Verification(criminal, **about))
            if what == "vehicle" and vehicles is not None:
                second.append(Verification(vehicles, **about))
        if not first and not second:
            raise BadRequest("nothing_to_verify", f"quote {quote_id} has neither drivers nor vehicles to ask about")
        if idempotency_key is not None:
            first, second = ([_with_key(one, idempotency_key) for one in step] for step in (first, second))
        asked = _all_or_nothing(session, [*first, *second])
        of_drivers, of_others = asked[: len(first)], asked[len(first) :]
        batch = session.execute(
            statement(_BATCH),
            {
                "steps": _json([[one.job_id for one in of_drivers], [one.job_id for one in of_others]]),
                "tenant": tenant or producer or "system",
                "on_failure": on_failure,
                "args": _json({"quote_id": quote_id, "reason": "verified"}),
                "priority": priority,
            },
        ).one()
        if batch.problem_code is not None:
            raise BadRequest(batch.problem_code, batch.problem)
    return EnqueuedQuoteVerification(batch.batch_id, batch.is_new, of_drivers, of_others)


def _all_or_nothing(session: "Session | Connection", asked: Sequence[Verification]) -> list[EnqueuedVerification]:
    with session.begin_nested():
        results = enqueue_verifications(session, asked)
        for result in results:
            if isinstance(result, Refused):
                raise BadRequest(result.code, result.sentence)
    return [result for result in results if isinstance(result, EnqueuedVerification)]


def _with_key(one: Verification, key: str) -> Verification:
    return replace(one, idempotency_key=f"{key} {one.integration} {one.driver_id or one.vehicle_id}")


def _json(value: object) -> str:
    return json.dumps(value, default=str)


_IS_THERE = "SELECT FROM quotes WHERE id = :quote_id"

_COVERED = """
    SELECT 'driver', id, NULL FROM driver WHERE quote_id = :quote_id
    UNION ALL SELECT 'vehicle', id, CASE WHEN vin IS NULL THEN 'plate' END FROM vehicle
    WHERE quote_id = :quote_id AND coalesce(vin, plate) IS NOT NULL
    ORDER BY 1, 2
"""

_BATCH = """
    SELECT * FROM try_enqueue_batch(
        CAST(:steps AS jsonb), 'quote verification', :tenant, :on_failure, 'rating.recalculate', 'rating',
        CAST(:args AS jsonb), CAST(:priority AS integer)
    )
"""
