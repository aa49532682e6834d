"""The SQL of a verification: what a run needs, and what it leaves. A handful of statements for any number of jobs.

Rows that other runs may want too (driver, licence, address) are locked in the order of their ids, table by table in one
order, so that two transactions never wait for each other in a circle.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, Row, TextClause, select, text

from models.household import Address, Driver, License
from models.integration import IntegrationConfiguration, ThirdPartyIntegration
from models.users import SYSTEM_USER_ID
from models.verification import IntegrationRequest
from tasks.verification.ending import request_end, results_of
from tasks.verification.question import Question, headers, question
from tasks.verification.report import Report
from worker.job import Finished, Job
from worker.outcomes import Done, GiveUp, Outcome


def load(connection: Connection, jobs: Sequence[Job]) -> Mapping[UUID, Any]:
    """A `Question` for each job, its request marked as sent; or why it can't be asked."""
    rows = {row.request_id: row for row in connection.execute(_QUESTIONS, {"ids": [_request_id(job) for job in jobs]})}
    inputs = {job.id: _input(job, rows.get(_request_id(job))) for job in jobs}
    questions = [asked for asked in inputs.values() if isinstance(asked, Question)]
    if questions:
        sent = [{"id": asked.request_id, "headers": headers(asked, asked.idempotency_key)} for asked in questions]
        _execute(connection, _MARK_SENT, sent)
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
        return GiveUp("unknown_request", f"There is no request {_request_id(job)}.")
    if row.request_status == "completed":
        return Done(None)  # its answer is here already
    return question(row, job.time_left, str(uuid.uuid4()))


def save(connection: Connection, finished: Sequence[Finished]) -> None:
    """Bring the requests, and for answered ones driver, licence and address, up to date."""
    runs = [run for run in finished if not (isinstance(run.outcome, Done) and run.outcome.result is None)]
    if not runs:
        return
    _save_requests(connection, runs)
    _save_results(connection, runs)
    answered = [
        (run.inputs, run.outcome.result.findings)
        for run in runs
        if isinstance(run.outcome, Done) and run.outcome.result.findings is not None
    ]
    if not answered:
        return
    source = {asked.request_id: asked.account.integration_code for asked, _ in answered}
    # Two requests about one driver in one transaction: the later one counts, an UPDATE would take either.
    drivers = {
        asked.driver_id: {
            "id": asked.driver_id,
            "source": source[asked.request_id],
            "status": found.driver.status,
            "confidence": found.driver.confidence,
            "external_id": found.driver.external_id,
        }
        for asked, found in answered
    }
    licenses = {
        asked.license_id: {
            "id": asked.license_id,
            "source": source[asked.request_id],
            "status": found.license.status,
            "external_status": found.license.external_status,
            "notes": found.license.notes,
        }
        for asked, found in answered
    }
    addresses = {
        asked.address_id: {
            "id": asked.address_id,
            "source": source[asked.request_id],
            "confidence": found.address.confidence,
            "validation": found.address.delivery_point_validation,
        }
        for asked, found in answered
        if found.address is not None
    }
    _execute(connection, _SAVE_DRIVERS, drivers.values())
    _execute(connection, _SAVE_LICENSES, licenses.values())
    _execute(connection, _SAVE_ADDRESSES, addresses.values())


def _save_requests(connection: Connection, runs: Sequence[Finished]) -> None:
    reported, unreported = [], []
    for run in runs:
        status, error = request_end(run.outcome)
        end = {"id": _request_id(run.job), "status": status, "error": error}
        if (report := _report(run)) is None:
            unreported.append(end)
            continue
        reported.append(
            {
                **end,
                "request_headers": report.request_headers,
                "request_body": orjson.Fragment(report.request_body),
                "retry_count": report.retry_count,
                "status_code": report.status_code,
                "response_headers": report.response_headers,
                "response_body": None if report.response_body is None else orjson.Fragment(report.response_body),
                "time_ms": report.response_time_ms,
                "transaction_id": report.transaction_id,
            }
        )
    _execute(connection, _SAVE_REPORTS, reported)
    _execute(connection, _SAVE_ENDS, unreported)


_SAVE_REPORTS = text(
    """
    UPDATE integration_request SET
        request_status = given.status, error_message = given.error, updated_by = :user,
        request_headers = given.request_headers, request_body = given.request_body,
        retry_count = given.retry_count, response_status_code = given.status_code,
        response_headers = given.response_headers, response_body = given.response_body,
        response_time_ms = given.time_ms, external_transaction_id = given.transaction_id
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (
        id bigint, status text, error text, request_headers jsonb, request_body jsonb, retry_count integer,
        status_code integer, response_headers jsonb, response_body jsonb, time_ms integer, transaction_id text
    )
    WHERE integration_request.id = given.id
    """
)

# Such a run has found out nothing: what earlier ones left stays.
_SAVE_ENDS = text(
    """
    UPDATE integration_request SET request_status = given.status, error_message = given.error, updated_by = :user
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (id bigint, status text, error text)
    WHERE integration_request.id = given.id
    """
)


def _save_results(connection: Connection, runs: Sequence[Finished]) -> None:
    rows = [
        {
            "request_id": asked.request_id,
            "type": result.verification_type,
            "target_type": result.target_type,
            "target": asked.address_id if result.target_type == "address" else asked.driver_id,
            "status": result.status,
            "confidence": result.confidence,
            "data": result.verified_data,
            "discrepancies": result.discrepancies or None,
            "ttl_hours": asked.account.cache_ttl_hours if result.status != "error" else 0,
            "transaction_id": report.transaction_id if report else None,
        }
        for run in runs
        if isinstance(asked := run.inputs, Question)
        for report in (_report(run),)
        for result in results_of(run.outcome, asked)
    ]
    _execute(connection, _SAVE_RESULTS, rows)


_SAVE_RESULTS = text(
    """
    INSERT INTO integration_verification_result (
        request_id, verification_type, target_entity_type, target_entity_id, verification_status, confidence_score,
        verified_data, discrepancies, cache_expires_at, external_verification_id, status_id, created_by
    )
    SELECT request_id, type, target_type, target, given.status, confidence, data, discrepancies,
        CASE WHEN ttl_hours > 0 THEN now() + make_interval(hours => ttl_hours) END, transaction_id,
        (SELECT id FROM status WHERE code = 'ACTIVE'), :user
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (
        request_id bigint, type text, target_type text, target bigint, status text, confidence numeric,
        data jsonb, discrepancies jsonb, ttl_hours integer, transaction_id text
    )
    """
)

_SAVE_DRIVERS = text(
    """
    WITH given AS (
        SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb))
            AS given (id bigint, source text, status text, confidence numeric, external_id text)
    ), locked AS (
        SELECT id FROM driver WHERE id IN (SELECT id FROM given) ORDER BY id FOR NO KEY UPDATE
    )
    UPDATE driver SET
        external_verification_status = given.status, last_verification_date = now(),
        verification_source = given.source, verification_confidence = given.confidence,
        external_driver_id = coalesce(given.external_id, external_driver_id), updated_by = :user
    FROM given JOIN locked USING (id)
    WHERE driver.id = given.id
    """
)

_SAVE_LICENSES = text(
    """
    WITH given AS (
        SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb))
            AS given (id bigint, source text, status text, external_status text, notes text)
    ), locked AS (
        SELECT id FROM license WHERE id IN (SELECT id FROM given) ORDER BY id FOR NO KEY UPDATE
    )
    UPDATE license SET
        external_verification_status = given.status, last_verification_date = now(),
        verification_source = given.source, external_license_status = given.external_status,
        verification_notes = given.notes, updated_by = :user
    FROM given JOIN locked USING (id)
    WHERE license.id = given.id
    """
)

_SAVE_ADDRESSES = text(
    """
    WITH given AS (
        SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb))
            AS given (id bigint, source text, confidence numeric, validation text)
    ), locked AS (
        SELECT id FROM address WHERE id IN (SELECT id FROM given) ORDER BY id FOR NO KEY UPDATE
    )
    UPDATE address SET
        standardized_by_source = given.source, standardization_confidence = given.confidence,
        delivery_point_validation = given.validation, last_standardization_date = now(), updated_by = :user
    FROM given JOIN locked USING (id)
    WHERE address.id = given.id
    """
)


def _report(run: Finished) -> Report | None:
    result = getattr(run.outcome, "result", None)
    return result if isinstance(result, Report) else None


def _execute(connection: Connection, statement: TextClause, rows: Collection[Mapping[str, Any]]) -> None:
    """Run a statement that takes its rows as one JSON document.

    Arrays, one a column, would be the plainer form; psycopg quotes their elements in Python, which took a fifth of a
    worker's CPU.
    """
    if rows:
        document = orjson.dumps(list(rows), default=_plain).decode()
        connection.execute(statement, {"user": SYSTEM_USER_ID, "rows": document})


def _plain(value: object) -> str:
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in a row")


def _request_id(job: Job) -> int:
    return int(job.args["request_id"])
