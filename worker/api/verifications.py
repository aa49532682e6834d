"""Asking for verifications, and what became of them. The raw answers of providers are shown by `raw.py` alone."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Request, Response, Security
from fastapi.params import Path
from pydantic import BaseModel
from sqlalchemy import text

from models.vocabularies import HttpRequestStatus, JobState, TargetEntityType, VerificationStatus, VerificationType
from worker.api import problems
from worker.api.admissions import Admissions, Asking
from worker.api.asking import KEY_FORM, KIND, Asked, VerificationRequest
from worker.api.auth import AdmitsItself, Shown, authenticated, database_of, shown
from worker.api.metrics import metrics_of
from worker.api.tokens import Caller
from worker.errors import BadRequest
from worker.traces import traceparent

router = APIRouter(prefix="/v1", tags=["verifications"], responses=problems.EVERYWHERE, route_class=AdmitsItself)

LOCATION = {"Location": {"description": "Where the job is.", "schema": {"type": "string"}}}


@router.post(
    "/verifications",
    status_code=202,
    response_model=Asked,
    responses={
        202: {"headers": LOCATION},
        404: problems.documented("Something that the request names does not exist, or is another tenant's."),
        409: problems.documented("It can't be asked for now, or the Idempotency-Key was used for another request."),
    },
)
async def ask_for_verification(
    asked: VerificationRequest,
    request: Request,
    token: Annotated[Shown, Security(shown, scopes=["verifications:write"])],
    idempotency_key: Annotated[
        str | None,
        Header(pattern=KEY_FORM, description="Asking again with the same key gives the same job, for a day."),
    ] = None,
) -> Response:
    """Ask for a verification. Once this has answered, the job is not lost."""
    admissions: Admissions = request.state.admissions
    asking = Asking(token, asked, idempotency_key, request.state.correlation_id, traceparent())
    with metrics_of(request).refusals(KIND):
        enqueued = await admissions.ask(asking)
    metrics_of(request).asked(KIND, enqueued.how)
    # As it is sent: FastAPI would check the model once more.
    headers = {"Location": f"/v1/jobs/{enqueued.job_id}"}
    return Response(enqueued.model_dump_json(), 202, headers, "application/json")


class Finding(BaseModel):
    """What was found out about one driver, vehicle or address."""

    verification_type: VerificationType
    target_type: TargetEntityType
    target_id: int
    status: VerificationStatus
    confidence_score: Decimal | None
    is_cached: bool
    found_at: datetime


class Verification(BaseModel):
    """A question to a provider and the state of its answer."""

    request_id: int
    job_id: UUID
    job_state: JobState
    integration: str
    driver_id: int | None
    vehicle_id: int | None
    address_id: int | None
    quote_id: UUID | None
    status: HttpRequestStatus
    correlation_id: str
    asked_at: datetime
    results: list[Finding]


@router.get("/verifications/{request_id}", responses={404: problems.NOT_FOUND})
def get_verification(
    request_id: Annotated[int, Path(ge=1, lt=2**63)],
    request: Request,
    caller: Annotated[Caller, Security(authenticated, scopes=["verifications:read"])],
) -> Verification:
    """What became of a verification: its status and those of its results, without personal data."""
    with database_of(request).transaction() as connection:
        row = connection.execute(_VERIFICATION, {"id": request_id, "tenants": list(caller.tenants)}).one_or_none()
        if row is None:
            raise BadRequest("unknown_verification", f"there is no verification {request_id}")
        found = connection.execute(_RESULTS, {"id": request_id}).mappings().all()
    return Verification(**row._mapping, results=[Finding.model_validate(result) for result in found])


# The job says whose it is: a request has no tenant of its own.
_VERIFICATION = text(
    """
    SELECT request.id AS request_id, job.id AS job_id, job.state AS job_state, integration.code AS integration,
        request.driver_id, request.vehicle_id, request.address_id, request.quote_id,
        request.request_status AS status, request.correlation_id,
        request.created_at AS asked_at
    FROM integration_request AS request
    JOIN job ON job.id = request.job_id
    JOIN third_party_integration AS integration ON integration.id = request.integration_id
    WHERE request.id = :id AND job.tenant = ANY(:tenants)
    """
)

_RESULTS = text(
    """
    SELECT verification_type, target_entity_type AS target_type, target_entity_id AS target_id,
        verification_status AS status, confidence_score, is_cached_result AS is_cached, created_at AS found_at
    FROM integration_verification_result WHERE request_id = :id ORDER BY id
    """
)
