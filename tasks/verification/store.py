"""The SQL of a verification: what a run needs, and what it leaves. A handful of statements for any number of jobs.

Rows that other runs may want too (driver, licence, address) are locked in the order of their ids, table by table in one
order, so that two transactions never wait for each other in a circle.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, Row, select, text

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
        connection.execute(
            _MARK_SENT,
            {
                "ids": [asked.request_id for asked in questions],
                "headers": [_json(headers(asked, asked.idempotency_key)) for asked in questions],
                "user": SYSTEM_USER_ID,
            },
        )
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
        IntegrationConfiguration.is_enabled,
        IntegrationConfiguration.endpoint_url,
        IntegrationConfiguration.auth_config,
        IntegrationConfiguration.timeout_seconds,
        IntegrationConfiguration.retry_attempts,
        IntegrationConfiguration.cache_ttl_hours,
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
        request_headers = coalesce(request_headers, '{}') || CAST(given.headers AS jsonb)
    FROM unnest(CAST(:ids AS bigint[]), CAST(:headers AS text[])) AS given (id, headers)
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
    # Two requests about one driver in one transaction: the later one counts, an UPDATE would take either.
    drivers = {asked.driver_id: (asked, found.driver) for asked, found in answered}
    _execute(
        connection,
        _SAVE_DRIVERS,
        [
            (id_, asked.account.integration_code, change.status, change.confidence, change.external_id)
            for id_, (asked, change) in drivers.items()
        ],
        ("ids", "sources", "statuses", "confidences", "external_ids"),
    )
    licenses = {asked.license_id: (asked, found.license) for asked, found in answered}
    _execute(
        connection,
        _SAVE_LICENSES,
        [
            (id_, asked.account.integration_code, change.status, change.external_status, change.notes)
            for id_, (asked, change) in licenses.items()
        ],
        ("ids", "sources", "statuses", "external_statuses", "notes"),
    )
    addresses = {asked.address_id: (asked, found.address) for asked, found in answered if found.address is not None}
    _execute(
        connection,
        _SAVE_ADDRESSES,
        [
            (id_, asked.account.integration_code, change.confidence, change.delivery_point_validation)
            for id_, (asked, change) in addresses.items()
        ],
        ("ids", "sources", "confidences", "validations"),
    )


def _save_requests(connection: Connection, runs: Sequence[Finished]) -> None:
    reported, unreported = [], []
    for run in runs:
        end = (_request_id(run.job), *request_end(run.outcome))
        if (report := _report(run)) is None:
            unreported.append(end)
            continue
        response_headers = _json(report.response_headers) if report.response_headers is not None else None
        reported.append(
            (
                *end,
                _json(report.request_headers),
                report.request_body,
                report.retry_count,
                report.status_code,
                response_headers,
                report.response_body,
                report.response_time_ms,
                report.transaction_id,
            )
        )
    names = (
        "ids", "statuses", "errors", "request_headers", "request_bodies", "retry_counts",
        "status_codes", "response_headers", "response_bodies", "times", "transaction_ids",
    )  # fmt: skip
    _execute(connection, _SAVE_REPORTS, reported, names)
    _execute(connection, _SAVE_ENDS, unreported, names[:3])


_SAVE_REPORTS = text(
    """
    UPDATE integration_request SET
        request_status = given.status, error_message = given.error, updated_by = :user,
        request_headers = CAST(given.request_headers AS jsonb), request_body = CAST(given.request_body AS jsonb),
        retry_count = given.retry_count, response_status_code = given.status_code,
        response_headers = CAST(given.response_headers AS jsonb), response_body = CAST(given.response_body AS jsonb),
        response_time_ms = given.time_ms, external_transaction_id = given.transaction_id
    FROM unnest(
        CAST(:ids AS bigint[]), CAST(:statuses AS text[]), CAST(:errors AS text[]),
        CAST(:request_headers AS text[]), CAST(:request_bodies AS text[]), CAST(:retry_counts AS integer[]),
        CAST(:status_codes AS integer[]), CAST(:response_headers AS text[]), CAST(:response_bodies AS text[]),
        CAST(:times AS integer[]), CAST(:transaction_ids AS text[])
    ) AS given (
        id, status, error, request_headers, request_body, retry_count,
        status_code, response_headers, response_body, time_ms, transaction_id
    )
    WHERE integration_request.id = given.id
    """
)

# Such a run has found out nothing: what earlier ones left stays.
_SAVE_ENDS = text(
    """
    UPDATE integration_request SET request_status = given.status, error_message = given.error, updated_by = :user
    FROM unnest(CAST(:ids AS bigint[]), CAST(:statuses AS text[]), CAST(:errors AS text[])) AS given (id, status, error)
    WHERE integration_request.id = given.id
    """
)


def _save_results(connection: Connection, runs: Sequence[Finished]) -> None:
    rows = [
        (
            asked.request_id,
            result.verification_type,
            result.target_type,
            asked.address_id if result.target_type == "address" else asked.driver_id,
            result.status,
            result.confidence,
            _json(result.verified_data) if result.verified_data is not None else None,
            _json(result.discrepancies) if result.discrepancies else None,
            asked.account.cache_ttl_hours if result.status != "error" else 0,
            report.transaction_id if report else None,
        )
        for run in runs
        if isinstance(asked := run.inputs, Question)
        for report in (_report(run),)
        for result in results_of(run.outcome, asked)
    ]
    names = (
        "requests", "types", "target_types", "targets", "statuses", "confidences", "data", "discrepancies",
        "ttl_hours", "transaction_ids",
    )  # fmt: skip
    _execute(connection, _SAVE_RESULTS, rows, names)


_SAVE_RESULTS = text(
    """
    INSERT INTO integration_verification_result (
        request_id, verification_type, target_entity_type, target_entity_id, verification_status, confidence_score,
        verified_data, discrepancies, cache_expires_at, external_verification_id, status_id, created_by
    )
    SELECT given.request_id, type, target_type, target, status, confidence,
        CAST(data AS jsonb), CAST(discrepancies AS jsonb),
        CASE WHEN ttl_hours > 0 THEN now() + make_interval(hours => ttl_hours) END, transaction_id,
        (SELECT id FROM status WHERE code = 'ACTIVE'), :user
    FROM unnest(
        CAST(:requests AS bigint[]), CAST(:types AS text[]), CAST(:target_types AS text[]),
        CAST(:targets AS bigint[]), CAST(:statuses AS text[]), CAST(:confidences AS numeric[]),
        CAST(:data AS text[]), CAST(:discrepancies AS text[]), CAST(:ttl_hours AS integer[]),
        CAST(:transaction_ids AS text[])
    ) AS given (
        request_id, type, target_type, target, status, confidence, data, discrepancies, ttl_hours, transaction_id
    )
    """
)

_SAVE_DRIVERS = text(
    """
    WITH locked AS (
        SELECT id FROM driver WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id FOR NO KEY UPDATE
    )
    UPDATE driver SET
        external_verification_status = given.status, last_verification_date = now(),
        verification_source = given.source, verification_confidence = given.confidence,
        external_driver_id = coalesce(given.external_id, external_driver_id), updated_by = :user
    FROM unnest(
        CAST(:ids AS bigint[]), CAST(:sources AS text[]), CAST(:statuses AS text[]), CAST(:confidences AS numeric[]),
        CAST(:external_ids AS text[])
    ) AS given (id, source, status, confidence, external_id)
    JOIN locked USING (id)
    WHERE driver.id = given.id
    """
)

_SAVE_LICENSES = text(
    """
    WITH locked AS (
        SELECT id FROM license WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id FOR NO KEY UPDATE
    )
    UPDATE license SET
        external_verification_status = given.status, last_verification_date = now(),
        verification_source = given.source, external_license_status = given.external_status,
        verification_notes = given.notes, updated_by = :user
    FROM unnest(
        CAST(:ids AS bigint[]), CAST(:sources AS text[]), CAST(:statuses AS text[]),
        CAST(:external_statuses AS text[]), CAST(:notes AS text[])
    ) AS given (id, source, status, external_status, notes)
    JOIN locked USING (id)
    WHERE license.id = given.id
    """
)

_SAVE_ADDRESSES = text(
    """
    WITH locked AS (
        SELECT id FROM address WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id FOR NO KEY UPDATE
    )
    UPDATE address SET
        standardized_by_source = given.source, standardization_confidence = given.confidence,
        delivery_point_validation = given.validation, last_standardization_date = now(), updated_by = :user
    FROM unnest(
        CAST(:ids AS bigint[]), CAST(:sources AS text[]), CAST(:confidences AS numeric[]),
        CAST(:validations AS text[])
    ) AS given (id, source, confidence, validation)
    JOIN locked USING (id)
    WHERE address.id = given.id
    """
)


def _report(run: Finished) -> Report | None:
    result = getattr(run.outcome, "result", None)
    return result if isinstance(result, Report) else None


def _execute(connection: Connection, statement: Any, rows: Sequence[tuple[Any, ...]], names: tuple[str, ...]) -> None:
    """Run a statement that takes its rows as one array for each column."""
    if rows:
        columns = (list(column) for column in zip(*rows, strict=True))
        connection.execute(statement, {"user": SYSTEM_USER_ID, **dict(zip(names, columns, strict=True))})


def _request_id(job: Job) -> int:
    return int(job.args["request_id"])


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
