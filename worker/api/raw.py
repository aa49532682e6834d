"""The raw answer of a provider: personal data, so a right of its own, and a row in the audit trail for each look at it.

The right is a row of `integration_permission`. A client has no user there; it is the group that is called as its
`client_id`.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response, Security
from fastapi.params import Path
from pydantic import BaseModel
from sqlalchemy import text

from models.vocabularies import HttpRequestStatus
from worker.api import problems
from worker.api.auth import authenticated, database_of
from worker.api.tokens import Caller
from worker.audit import audit
from worker.errors import BadRequest
from worker.permissions import Actor, Scope, require

router = APIRouter(prefix="/v1", tags=["verifications"], responses=problems.EVERYWHERE)


class RawAnswer(BaseModel):
    """What the provider said. `is_masked`: personal values have been taken out since, as the privacy rules want it."""

    request_id: int
    status: HttpRequestStatus
    status_code: int | None
    headers: dict[str, Any] | None
    body: Any
    is_masked: bool


@router.get(
    "/verifications/{request_id}/raw",
    responses={
        403: problems.documented("The access token lacks the scope, or the client the right to view raw responses."),
        404: problems.NOT_FOUND,
    },
)
def get_raw_answer(
    request_id: Annotated[int, Path(ge=1, lt=2**63)],
    request: Request,
    response: Response,
    caller: Annotated[Caller, Security(authenticated, scopes=["verifications:read"])],
) -> RawAnswer:
    """The provider's answer as it came. Needs the right to view raw responses of the integration; each look is kept."""
    with database_of(request).transaction() as connection:
        row = connection.execute(_RAW, {"id": request_id, "tenants": list(caller.tenants)}).one_or_none()
        if row is None:
            raise BadRequest("unknown_verification", f"there is no verification {request_id}")
        require(
            connection,
            Actor(groups=frozenset({caller.client_id})),
            "view_raw_responses",
            Scope(row.integration_id, row.program_id, row.producer_id),
        )
        audit(
            connection,
            action="verification.raw_viewed",
            resource_type="integration_request",
            resource_id=request_id,
            details={"client": caller.client_id, "integration": row.integration, "is_masked": row.is_masked},
            correlation_id=request.state.correlation_id,
        )
    response.headers["Cache-Control"] = "no-store"
    return RawAnswer(
        request_id=request_id,
        status=row.status,
        status_code=row.status_code,
        headers=row.headers,
        body=row.body,
        is_masked=row.is_masked,
    )


# The producer is the tenant that asked, where it is one: a configuration of the system's serves many.
_RAW = text(
    """
    SELECT request.integration_id, integration.code AS integration, configuration.program_id,
        coalesce(configuration.producer_id,
                 (SELECT producer.id FROM producer WHERE producer_code = job.tenant)) AS producer_id,
        request.request_status AS status, request.response_status_code AS status_code,
        request.response_headers AS headers, request.response_body AS body, request.pii_masked AS is_masked
    FROM integration_request AS request
    JOIN job ON job.id = request.job_id
    JOIN third_party_integration AS integration ON integration.id = request.integration_id
    JOIN integration_configuration AS configuration ON configuration.id = request.configuration_id
    WHERE request.id = :id AND job.tenant = ANY(:tenants)
    """
)
