"""What a run needs of its request, read in one statement for any number of jobs."""

import uuid
from collections import namedtuple
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, and_, func, or_, select, text
from sqlalchemy.orm import aliased

from models.calls import ProviderCall
from models.household import Address, Driver, License, Vehicle
from models.integration import IntegrationConfiguration, ThirdPartyIntegration
from models.ledger import Job as JobRow
from models.verification import IntegrationRequest
from tasks.verification import calls_store, sharing_store
from tasks.verification.apis import APIS, question
from tasks.verification.question import Question, headers
from tasks.verification.rows_store import Change, execute
from tasks.verification.scrutiny import LENIENT, Scrutiny
from tasks.verification.sharing import shared_failure
from worker.configuration.field_mapping.rulebook import Rulebooks
from worker.job import Job
from worker.outcomes import Done, GiveUp, Outcome


def load(connection: Connection, jobs: Sequence[Job]) -> Mapping[UUID, Any]:
    """A `Question` for each job, its request marked as sent; or why it can't be asked."""
    result = connection.execute(_QUESTIONS, {"ids": [request_id(job) for job in jobs]})
    found: Iterable[Any] = map(_Found._make, result)
    rows = {row.request_id: row for row in found}
    inputs = {job.id: _input(connection, job, rows.get(request_id(job))) for job in jobs}
    unsettled = [job for job in jobs if (row := rows.get(request_id(job))) is not None and row.request_status == "sent"]
    calls_store.write_down_uncertain(connection, unsettled)
    inputs = calls_store.reserve(connection, sharing_store.share(connection, inputs))
    sent = [
        {
            "id": asked.request_id,
            "headers": headers(asked, asked.idempotency_key),
            "calls": asked.tally.at_most,
            "question": asked.text,
        }
        for asked in inputs.values()
        if isinstance(asked, Question) and asked.known is None
    ]
    execute(connection, (_SENT, sent))
    return inputs


_AWAITED = aliased(IntegrationRequest)
_VEHICLE = aliased(Vehicle)
_MATE = aliased(Driver)
_MATES_LICENSE = aliased(License)
_SAME_QUOTE = func.coalesce(IntegrationRequest.quote_id, Driver.quote_id)

_MATES = (
    select(
        func.jsonb_agg(
            func.jsonb_build_object(
                *("id", _MATE.id, "first_name", _MATE.first_name, "last_name", _MATE.last_name),
                *("date_of_birth", _MATE.date_of_birth, "license_index", _MATES_LICENSE.license_number_bidx),
            )
        )
    )
    .select_from(_MATE)
    .outerjoin(_MATES_LICENSE, _MATES_LICENSE.id == _MATE.license_id)
    .where(ThirdPartyIntegration.api == "drivers", _MATE.quote_id == _SAME_QUOTE, _MATE.id != Driver.id)
    .correlate(ThirdPartyIntegration, IntegrationRequest, Driver)
    .scalar_subquery()
)

_VEHICLES = (
    select(
        func.jsonb_agg(
            func.jsonb_build_object(
                *("id", Vehicle.id, "vin", Vehicle.vin, "plate", Vehicle.plate),
                *("model_year", Vehicle.model_year, "make", Vehicle.make, "model", Vehicle.model),
            )
        )
    )
    .where(
        ThirdPartyIntegration.api == "vehicles",
        or_(
            Vehicle.id == IntegrationRequest.vehicle_id,
            and_(IntegrationRequest.address_id.is_not(None), Vehicle.quote_id == IntegrationRequest.quote_id),
        ),
    )
    .correlate(ThirdPartyIntegration, IntegrationRequest)
    .scalar_subquery()
)

# Those since it was asked for, or was last asked for again by hand. Looked for only where there may be some.
_CALLS_MADE = (
    select(func.coalesce(func.sum(ProviderCall.calls), 0))
    .join(JobRow, JobRow.id == ProviderCall.job_id)
    .where(
        IntegrationRequest.request_body.is_not(None),
        ProviderCall.request_id == IntegrationRequest.id,
        ProviderCall.at >= JobRow.started_at,
        ProviderCall.reason != "poll",
    )
    .correlate(IntegrationRequest)
    .scalar_subquery()
)

_QUESTIONS = (
    select(
        IntegrationRequest.id.label("request_id"),
        IntegrationRequest.request_status,
        IntegrationRequest.request_headers,
        IntegrationRequest.request_body,
        IntegrationRequest.response_status_code,
        IntegrationRequest.retry_count,
        _CALLS_MADE.label("calls_made"),
        IntegrationRequest.correlation_id,
        IntegrationRequest.tenant,
        IntegrationRequest.is_forced,
        IntegrationRequest.answered_by,
        _AWAITED.request_status.label("awaited_status"),
        _AWAITED.error_message.label("awaited_error"),
        IntegrationRequest.search_by,
        IntegrationRequest.poll_url,
        func.extract("epoch", func.now() - IntegrationRequest.pending_since).label("pending_for_s"),
        IntegrationRequest.program_id,
        IntegrationRequest.producer_id,
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
        IntegrationConfiguration.keeps_owner_id,
        IntegrationConfiguration.verified_confidence,
        IntegrationConfiguration.partial_confidence,
        IntegrationConfiguration.match_nicknames,
        ThirdPartyIntegration.id.label("integration_id"),
        ThirdPartyIntegration.mapping_stamp,
        IntegrationConfiguration.price_per_call,
        ThirdPartyIntegration.allowed_hosts,
        ThirdPartyIntegration.code.label("integration_code"),
        ThirdPartyIntegration.api,
        ThirdPartyIntegration.is_active,
        ThirdPartyIntegration.auth_type,
        ThirdPartyIntegration.base_url,
        _SAME_QUOTE.label("quote_id"),
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
        _MATES.label("mates"),
        _VEHICLES.label("vehicles"),
        func.question_text(
            ThirdPartyIntegration.api,
            IntegrationConfiguration.id,
            IntegrationConfiguration.endpoint_url,
            IntegrationConfiguration.cache_ttl_hours,
            func.concat_ws(" ", Driver.id, Driver.question_version),
            func.concat_ws(" ", License.id, License.question_version),
            func.concat_ws(" ", Address.id, Address.question_version),
            func.concat_ws(" ", _VEHICLE.id, _VEHICLE.question_version),
            func.coalesce(IntegrationRequest.search_by, ""),
        ).label("text"),
    )
    .join(IntegrationConfiguration, IntegrationConfiguration.id == IntegrationRequest.configuration_id)
    .join(ThirdPartyIntegration, ThirdPartyIntegration.id == IntegrationRequest.integration_id)
    .outerjoin(_AWAITED, _AWAITED.id == IntegrationRequest.answered_by)
    .outerjoin(_VEHICLE, _VEHICLE.id == IntegrationRequest.vehicle_id)
    .outerjoin(Driver, Driver.id == IntegrationRequest.driver_id)
    .outerjoin(License, License.id == Driver.license_id)
    .outerjoin(Address, Address.id == func.coalesce(IntegrationRequest.address_id, Driver.address_id))
    # Not `ANY(:ids)` itself: for a handful of ids that is planned anew each time, which takes longer than all the rest.
    .where(IntegrationRequest.id == text("ANY(ARRAY(SELECT unnest(CAST(:ids AS bigint[]))))"))
)

# SQLAlchemy's own rows look up a name anew each time it is read: two thirds of what it takes to make a question.
_Found = namedtuple("_Found", _QUESTIONS.selected_columns.keys())  # type: ignore[misc]  # names only SQLAlchemy has

# The answer of an earlier call is cleared: until this one's is there, its fate is unknown, and its key the one to use.
_SENT = Change(
    "sent",
    """
    WITH given AS (
        SELECT * FROM jsonb_to_recordset(CAST(:sent AS jsonb))
            AS given (id bigint, headers jsonb, calls integer, question text)
    )
    UPDATE integration_request SET
        request_status = 'sent', response_status_code = NULL, updated_by = :user,
        request_headers = coalesce(request_headers, '{}') || given.headers,
        sent_at = now(), calls_at_most = given.calls, question = given.question, answered_by = NULL
    FROM given
    WHERE integration_request.id = given.id AND integration_request.id = ANY(ARRAY(SELECT id FROM given))
    """,
)


def _input(connection: Connection, job: Job, row: Any) -> Question | Outcome[Any]:
    if row is None:
        return GiveUp("unknown_request", f"There is no request {request_id(job)}.")
    if row.request_status == "completed":
        return Done(None)  # its answer is here already
    if (failure := shared_failure(row.answered_by, row.awaited_status, row.awaited_error)) is not None:
        return failure
    return question(row, job.time_left, str(uuid.uuid4()), _scrutiny(connection, row))


_rulebooks = Rulebooks()
"""Of this process. Their stamps are random, so that databases, as tests have many, are not taken for each other."""


def _scrutiny(connection: Connection, row: Any) -> Scrutiny:
    if row.api is None:
        return LENIENT  # nothing can be asked
    book = _rulebooks.of(connection, row.integration_id, row.mapping_stamp)
    return Scrutiny(
        book.map(row.program_id, row.producer_id, APIS[row.api].mapped_from),
        row.verified_confidence,
        row.partial_confidence,
        row.match_nicknames,
    )


def request_id(job: Job) -> int:
    """The request a job is for."""
    return int(job.args["request_id"])
