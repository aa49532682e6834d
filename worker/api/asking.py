"""What a caller says to ask for a verification, and the step from there to the row.

Forms are checked here, in full and strictly; whether the things exist is decided by `worker.enqueue`.
"""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, text

from models.vocabularies import Environment, JobState
from worker.api.tokens import Caller
from worker.bulk import Refused, Verification, enqueue_verifications
from worker.enqueue import EnqueuedVerification, How, VehicleSearchKey
from worker.errors import BadRequest

KIND = "verification.verify"
KEY_FORM = r"^[!-~]{1,200}$"
"""Of an Idempotency-Key: visible ASCII."""

Code = Annotated[str, Field(min_length=1, max_length=50, pattern=r"^[^\x00-\x1f\x7f]+$")]


Id = Annotated[int, Field(strict=True, ge=1, lt=2**63)]


class VerificationRequest(BaseModel):
    """Whom or what to verify, through which integration, and in whose name.

    Household drivers and criminal records take a driver; vehicles take a vehicle or an address.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    integration: Annotated[Code, Field(examples=["DCS_HOUSEHOLD_DRIVERS"])]
    driver_id: Id | None = Field(None, description="The driver, for household drivers and criminal records.")
    vehicle_id: Id | None = Field(None, description="The vehicle, for household vehicles.")
    address_id: Id | None = Field(None, description="The address whose vehicles are searched.")
    search_by: VehicleSearchKey | None = Field(
        None, description="What of the vehicle is searched: vin, as without this field, or plate."
    )
    quote_id: UUID | None = Field(None, description="The quote it is for.")
    producer: Code | None = Field(None, description="Code of the producer whose configuration is used.")
    program: Code | None = Field(None, description="Code of the program whose configuration is used.")
    environment: Environment = Field("sandbox", description="Which configuration is used.")
    priority: Annotated[int, Field(strict=True, ge=0, le=9)] = Field(4, description="0 is the most urgent.")
    deadline_s: Annotated[int, Field(strict=True, ge=1, le=30 * 86400)] | None = Field(
        None, description="A job that has not begun after so many seconds ends as expired."
    )
    tenant: Code | None = Field(
        None, description="Whose turn it takes; without it the producer, or the only tenant of the client."
    )
    force: Annotated[bool, Field(strict=True)] = Field(
        False, description="Ask the provider although a valid answer is here; needs the right to force calls."
    )


class Asked(BaseModel):
    """The job that will do it. `is_new` is false where the Idempotency-Key named one that was there already.

    `how`, as far as is known now: `new`, the provider is asked; `joined`, the same question is under way; `cached`,
    its answer is here; `repeated`, the job of this key.
    """

    job_id: UUID
    request_id: int
    is_new: bool
    how: How
    state: JobState


def ask_many(
    connection: Connection,
    caller: Caller,
    asked: Sequence[tuple[VerificationRequest, str | None]],
    correlation_id: str,
) -> list[Asked | Refused]:
    """Write many jobs, each with its idempotency key, or find those of the keys; gives what became of each in order."""
    results: list[Asked | Refused] = []
    wanted: dict[int, Verification] = {}
    for index, (one, idempotency_key) in enumerate(asked):
        results.append(Refused("", ""))
        try:
            wanted[index] = wanted_by(caller, one, idempotency_key, correlation_id)
        except BadRequest as error:
            results[index] = Refused(error.code, str(error))
    enqueued = enqueue_verifications(connection, list(wanted.values()))
    answers = answers_to(connection, list(zip(wanted.values(), enqueued, strict=True)))
    for index, answer in zip(wanted, answers, strict=True):
        results[index] = answer
    return results


def wanted_by(
    caller: Caller, asked: VerificationRequest, idempotency_key: str | None, correlation_id: str
) -> Verification:
    """What is asked for, in the caller's name. Another's producer is refused: its configuration would be used, and its
    account billed. Raises `BadRequest` with a code of `problems.REASONS`."""
    if asked.producer is not None and asked.producer not in caller.tenants:
        raise BadRequest("unknown_producer", "There is no such producer.")
    return Verification(
        integration=asked.integration,
        driver_id=asked.driver_id,
        vehicle_id=asked.vehicle_id,
        address_id=asked.address_id,
        search_by=asked.search_by,
        quote_id=asked.quote_id,
        producer=asked.producer,
        program=asked.program,
        environment=asked.environment,
        tenant=tenant_of(caller, asked.tenant or asked.producer),
        priority=asked.priority,
        deadline=timedelta(seconds=asked.deadline_s) if asked.deadline_s is not None else None,
        idempotency_key=idempotency_key,
        correlation_id=correlation_id,
        force=asked.force,
        groups=[caller.client_id],
    )


def tenant_of(caller: Caller, named: str | None) -> str:
    """Whose job it is. Raises `BadRequest` with code no_tenant or unknown_tenant."""
    if named is None:
        if len(caller.tenants) != 1:
            raise BadRequest("no_tenant", "Name the tenant.")
        return caller.tenants[0]
    if named not in caller.tenants:
        raise BadRequest("unknown_tenant", "There is no such tenant.")
    return named


def answers_to(
    connection: Connection, done: Sequence[tuple[Verification, EnqueuedVerification | Refused]]
) -> list[Asked | Refused]:
    """What is answered. Jobs that were there already are looked at: a key with another request is a conflict."""
    found = [
        {
            "id": str(enqueued.job_id),
            "priority": wanted.priority,
            "deadline_s": wanted.deadline.total_seconds() if wanted.deadline else None,
        }
        for wanted, enqueued in done
        if isinstance(enqueued, EnqueuedVerification) and not enqueued.is_new
    ]
    rows = connection.execute(_KNOWN, {"found": json.dumps(found)}) if found else ()
    known = iter([(row.state, row.is_same) for row in rows])
    answers: list[Asked | Refused] = []
    for _, enqueued in done:
        if isinstance(enqueued, Refused):
            answers.append(enqueued)
            continue
        state: JobState
        state, is_same = ("ready", True) if enqueued.is_new else next(known)
        answers.append(
            Asked(
                job_id=enqueued.job_id,
                request_id=enqueued.request_id,
                is_new=enqueued.is_new,
                how=enqueued.how,
                state=state,
            )
            if is_same
            else Refused("idempotency_conflict", "This idempotency key was used for another verification.")
        )
    return answers


# Priority and deadline are no part of the question, so the ledger does not compare them; but a request that repeats its
# key with others is another request. A job that was started anew by hand has lost the deadline it was asked with.
_KNOWN = text(
    """
    SELECT job.state, job.priority = found.priority AND (
        job.deadline_at - job.created_at IS NOT DISTINCT FROM found.deadline_s * interval '1 second'
        OR EXISTS (SELECT FROM job_event WHERE job_id = job.id AND event = 'retried_by_hand')
    ) AS is_same
    FROM ROWS FROM (
        jsonb_to_recordset(CAST(:found AS jsonb)) AS (id uuid, priority integer, deadline_s double precision)
    ) WITH ORDINALITY AS found (id, priority, deadline_s, n)
    JOIN job USING (id)
    ORDER BY found.n
    """
)


def state_of(connection: Connection, job_id: UUID) -> JobState:
    """Where a job is that is known to be there."""
    state: JobState = connection.execute(_STATE, {"id": job_id}).scalar_one()
    return state


_STATE = text("SELECT state FROM job WHERE id = :id")
