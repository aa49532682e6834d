"""Having the premium of a quote brought up to date."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Request, Response, Security
from pydantic import BaseModel, ConfigDict, Field

from models.vocabularies import JobState
from worker.api import problems
from worker.api.asking import KEY_FORM, Code, state_of, tenant_of
from worker.api.auth import authenticated
from worker.api.hinting import Hinting
from worker.api.metrics import metrics_of
from worker.api.tokens import Caller
from worker.api.verifications import LOCATION
from worker.enqueue import enqueue_recalculation

KIND = "rating.recalculate"

router = APIRouter(prefix="/v1", tags=["quotes"], responses=problems.EVERYWHERE)


class RecalculationRequest(BaseModel):
    """In whose name, and how urgent it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: Code | None = Field(None, description="Whose turn it takes; without it the only tenant of the client.")
    priority: Annotated[int, Field(strict=True, ge=0, le=9)] = Field(4, description="0 is the most urgent.")


class Recalculation(BaseModel):
    """The job that will do it. One that waits for the same quote already is joined."""

    job_id: UUID
    is_new: bool
    state: JobState


@router.post(
    "/quotes/{quote_id}:recalculate",
    status_code=202,
    responses={
        202: {"headers": LOCATION},
        404: problems.documented("There is no such quote or tenant."),
        409: problems.documented("The quote keeps its premium, or the Idempotency-Key was used for another request."),
    },
)
def recalculate_quote(
    quote_id: UUID,
    request: Request,
    response: Response,
    caller: Annotated[Caller, Security(authenticated, scopes=["quotes:write"])],
    asked: RecalculationRequest | None = None,
    idempotency_key: Annotated[
        str | None,
        Header(pattern=KEY_FORM, description="Asking again with the same key gives the same job, for a day."),
    ] = None,
) -> Recalculation:
    """Ask for a quote's premium to be brought up to date with its inputs and the rates in force."""
    asked = asked or RecalculationRequest.model_validate({})
    hinting: Hinting = request.state.hinting
    with metrics_of(request).refusals(KIND), hinting.transaction() as connection:
        enqueued = enqueue_recalculation(
            connection,
            quote_id=quote_id,
            tenant=tenant_of(caller, asked.tenant),
            priority=asked.priority,
            idempotency_key=idempotency_key,
        )
        state = "ready" if enqueued.is_new else state_of(connection, enqueued.job_id)
    metrics_of(request).asked(KIND, "new" if enqueued.is_new else "joined")
    response.headers["Location"] = f"/v1/jobs/{enqueued.job_id}"
    return Recalculation(job_id=enqueued.job_id, is_new=enqueued.is_new, state=state)
