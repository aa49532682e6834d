"""What a run needs of its request, read in one statement for any number of jobs."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, select, text

from models.household import Address, Driver, License
from models.integration import IntegrationConfiguration, ThirdPartyIntegration
from models.verification import IntegrationRequest
from tasks.verification.question import Question, headers, question
from tasks.verification.rows_store import execute
from worker.job import Job
from worker.outcomes import Done, GiveUp, Outcome


def load(connection: Connection, jobs: Sequence[Job]) -> Mapping[UUID, Any]:
    """A `Question` for each job, its request marked as sent; or why it can't be asked."""
    rows = {row.request_id: row for row in connection.execute(_QUESTIONS, {"ids": [request_id(job) for job in jobs]})}
    inputs = {job.id: _input(job, rows.get(request_id(job))) for job in jobs}
    questions = [asked for asked in inputs.values() if isinstance(asked, Question)]
    if questions:
        sent = [{"id": asked.request_id, "headers": headers(asked, asked.idempotency_key)} for asked in questions]
        execute(connection, _MARK_SENT, sent)
    return inputs


_QUESTIONS = (
    select(
        IntegrationRequest.id.label("request_id"),
        IntegrationRequest.request_status,
        IntegrationRequest.request_headers,
        IntegrationRequest.request_body,
        IntegrationRequest.response_status_code,
        IntegrationRequest.retry_count,
        IntegrationRequest.correlation_id,
        IntegrationConfiguration.id.label("configuration_id"),
        IntegrationConfiguration.environment,
        IntegrationConfiguration.is_enabled,
        IntegrationConfiguration.is_required,
        IntegrationConfiguration.endpoint_url,
        IntegrationConfiguration.auth_config,
        IntegrationConfiguration.timeout_seconds,
        IntegrationConfiguration.retry_attempts,
        IntegrationConfiguration.cache_ttl_hours,
        IntegrationConfiguration.max_requests_per_second,
        IntegrationConfiguration.max_calls_in_flight,
        ThirdPartyIntegration.code.label("integration_code"),
        ThirdPartyIntegration.is_active,
        ThirdPartyIntegration.auth_type,
        ThirdPartyIntegration.base_url,
        Driver.id.label("driver_id"),
        Driver.first_name,
        Driver.last_name,
        Driver.date_of_birth,
        License.id.label("license_id"),
        License.license_number,
        License.state_code,
        Address.id.label("address_id"),
        Address.street_1,
        Address.street_2,
        Address.city,
        Address.state,
        Address.zip_code,
    )
    .join(IntegrationConfiguration, IntegrationConfiguration.id == IntegrationRequest.configuration_id)
    .join(ThirdPartyIntegration, ThirdPartyIntegration.id == IntegrationRequest.integration_id)
    .outerjoin(Driver, Driver.id == IntegrationRequest.driver_id)
    .outerjoin(License, License.id == Driver.license_id)
    .outerjoin(Address, Address.id == Driver.address_id)
    .where(IntegrationRequest.id == text("ANY(CAST(:ids AS bigint[]))"))
)

# The answer of an earlier call is cleared: until this one's is there, its fate is unknown, and its key the one to use.
_MARK_SENT = text(
    """
    UPDATE integration_request SET
        request_status = 'sent', response_status_code = NULL, updated_by = :user,
        request_headers = coalesce(request_headers, '{}') || given.headers
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (id bigint, headers jsonb)
    WHERE integration_request.id = given.id
    """
)


def _input(job: Job, row: Row[Any] | None) -> Question | Outcome[Any]:
    if row is None:
        return GiveUp("unknown_request", f"There is no request {request_id(job)}.")
    if row.request_status == "completed":
        return Done(None)  # its answer is here already
    return question(row, job.time_left, str(uuid.uuid4()))


def request_id(job: Job) -> int:
    """The request a job is for."""
    return int(job.args["request_id"])
