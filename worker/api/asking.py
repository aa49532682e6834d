"""What a caller says to ask for a verification, and the step from there to the row.

Forms are checked here, in full and strictly; whether the things exist is decided by `worker.enqueue`.
"""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, text

from models.vocabularies import Environment, JobState
from worker.api.tokens import Caller
from worker.enqueue import How, VehicleSearchKey, enqueue_verification
from worker.errors import BadRequest

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


def ask(
    connection: Connection,
    caller: Caller,
    asked: VerificationRequest,
    *,
    idempotency_key: str | None,
    correlation_id: str,
) -> Asked:
    """Write the job, or find that of the key. Raises `BadRequest` with a code of `problems.REASONS`."""
    tenant = _tenant(caller, asked)
    deadline = timedelta(seconds=asked.deadline_s) if asked.deadline_s is not None else None
    enqueued = enqueue_verification(
        connection,
        integration=asked.integration,
        driver_id=asked.driver_id,
        vehicle_id=asked.vehicle_id,
        address_id=asked.address_id,
        search_by=asked.search_by,
        quote_id=asked.quote_id,
        producer=asked.producer,
        program=asked.program,
        environment=asked.environment,
        tenant=tenant,
        priority=asked.priority,
        deadline=deadline,
        idempotency_key=idempotency_key,
        correlation_id=correlation_id,
        force=asked.force,
        groups=[caller.client_id],
    )
    state: JobState = "ready"
    if not enqueued.is_new:
        known = connection.execute(
            _KNOWN, {"id": enqueued.job_id, "priority": asked.priority, "deadline": deadline}
        ).one()
        if not known.is_same:
            raise BadRequest("idempotency_conflict", "This idempotency key was used for another verification.")
        state = known.state
    return Asked(
        job_id=enqueued.job_id,
        request_id=enqueued.request_id,
        is_new=enqueued.is_new,
        how=enqueued.how,
        state=state,
    )


def _tenant(caller: Caller, asked: VerificationRequest) -> str:
    """Whose job it is. Another's producer is refused too: its configuration would be used, and its account billed."""
    if asked.producer is not None and asked.producer not in caller.tenants:
        raise BadRequest("unknown_producer", "There is no such producer.")
    tenant = asked.tenant or asked.producer
    if tenant is None:
        if len(caller.tenants) != 1:
            raise BadRequest("no_tenant", "Name the tenant.")
        return caller.tenants[0]
    if tenant not in caller.tenants:
        raise BadRequest("unknown_tenant", "There is no such tenant.")
    return tenant


# Priority and deadline are no part of the question, so the ledger does not compare them; but a request that repeats its
# key with others is another request. A job that was started anew by hand has lost the deadline it was asked with.
_KNOWN = text(
    """
    SELECT state, priority = :priority AND (
        deadline_at - created_at IS NOT DISTINCT FROM CAST(:deadline AS interval)
        OR EXISTS (SELECT FROM job_event WHERE job_id = job.id AND event = 'retried_by_hand')
    ) AS is_same
    FROM job WHERE id = :id
    """
)
