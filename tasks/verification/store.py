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
from tasks.verification.mapping import Result, error_results
from tasks.verification.question import (
    LONGEST_TIMEOUT_S,
    Account,
    PostalAddress,
    Question,
    Subject,
    full_url,
    next_key,
)
from tasks.verification.report import Report
from worker.errors import Misconfigured
from worker.job import Finished, Job
from worker.outcomes import Cancelled, Done, Expired, GiveUp, Retry, Snooze

KEY = "Idempotency-Key"


def load(connection: Connection, jobs: Sequence[Job]) -> Mapping[UUID, Any]:
    """A `Question` for each job, its request marked as sent; or why it can't be asked."""
    rows = {row.request_id: row for row in connection.execute(_QUESTIONS, {"ids": [_request_id(job) for job in jobs]})}
    inputs = {job.id: _question(job, rows.get(_request_id(job))) for job in jobs}
    questions = [question for question in inputs.values() if isinstance(question, Question)]
    if questions:
        connection.execute(
            _MARK_SENT,
            {
                "ids": [question.request_id for question in questions],
                "headers": [
                    _json({KEY: question.idempotency_key, "X-Correlation-Id": question.correlation_id})
                    for question in questions
                ],
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


def _question(job: Job, row: Row[Any] | None) -> Question | GiveUp[Any] | Done[Any]:
    if row is None:
        return GiveUp("unknown_request", f"There is no request {_request_id(job)}.")
    if row.request_status == "completed":
        return Done(None)  # its answer is here already
    if problem := _problem(row):
        return problem
    try:
        url = full_url(row.endpoint_url, row.base_url, row.configuration_id)
    except Misconfigured as error:
        return GiveUp("configuration_error", str(error))
    return Question(
        request_id=row.request_id,
        driver_id=row.driver_id,
        license_id=row.license_id,
        address_id=row.address_id,
        account=Account(
            row.configuration_id,
            row.integration_code,
            row.auth_type,
            row.auth_config,
            url,
            row.timeout_seconds,
            row.retry_attempts,
            row.cache_ttl_hours,
        ),
        subject=Subject(row.first_name, row.last_name, row.date_of_birth, row.state_code),
        sealed_license_number=row.license_number,
        address=PostalAddress(row.street_1, row.street_2, row.city, row.state, row.zip_code)
        if row.address_id is not None
        else None,
        correlation_id=row.correlation_id,
        idempotency_key=_key(row),
        retry_count=row.retry_count,
        body_sent=row.request_body,
        time_left_s=job.time_left.total_seconds() if job.time_left is not None else None,
    )


def _problem(row: Row[Any]) -> GiveUp[Any] | None:
    if not row.is_active:
        return GiveUp("integration_disabled", f"Integration {row.integration_code} is switched off.")
    if not row.is_enabled:
        return GiveUp("integration_disabled", f"Configuration {row.configuration_id} is switched off.")
    if row.timeout_seconds > LONGEST_TIMEOUT_S:
        return GiveUp(
            "configuration_error",
            f"The timeout_seconds of configuration {row.configuration_id} is above {LONGEST_TIMEOUT_S}.",
        )
    if row.driver_id is None:
        return GiveUp("unknown_driver", f"The driver of request {row.request_id} is no more.")
    if row.license_id is None:
        return GiveUp("unknown_license", f"Driver {row.driver_id} has no licence.")
    for name in ("first_name", "last_name", "date_of_birth"):
        if getattr(row, name) is None:
            return GiveUp("incomplete_driver", f"Driver {row.driver_id} has no {name}.")
    for name in ("license_number", "state_code"):
        if getattr(row, name) is None:
            return GiveUp("incomplete_license", f"Licence {row.license_id} has no {name}.")
    return None


def _key(row: Row[Any]) -> str:
    """The key of the next call: a new one after an answer, else that of the call whose answer never came."""
    if (used := (row.request_headers or {}).get(KEY)) is None:
        return str(uuid.uuid4())
    return used if row.response_status_code is None else next_key(used)


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
    drivers = {question.driver_id: (question, found.driver) for question, found in answered}
    _execute(
        connection,
        _SAVE_DRIVERS,
        [
            (id_, question.account.integration_code, change.status, change.confidence, change.external_id)
            for id_, (question, change) in drivers.items()
        ],
        ("ids", "sources", "statuses", "confidences", "external_ids"),
    )
    licenses = {question.license_id: (question, found.license) for question, found in answered}
    _execute(
        connection,
        _SAVE_LICENSES,
        [
            (id_, question.account.integration_code, change.status, change.external_status, change.notes)
            for id_, (question, change) in licenses.items()
        ],
        ("ids", "sources", "statuses", "external_statuses", "notes"),
    )
    addresses = {
        question.address_id: (question, found.address) for question, found in answered if found.address is not None
    }
    _execute(
        connection,
        _SAVE_ADDRESSES,
        [
            (id_, question.account.integration_code, change.confidence, change.delivery_point_validation)
            for id_, (question, change) in addresses.items()
        ],
        ("ids", "sources", "confidences", "validations"),
    )


def _save_requests(connection: Connection, runs: Sequence[Finished]) -> None:
    rows = []
    for run in runs:
        status, error = _end(run.outcome)
        report = _report(run)
        rows.append(
            (
                _request_id(run.job),
                status,
                error,
                report is not None,
                _json(report.request_headers) if report else None,
                report.request_body if report else None,
                report.retry_count if report else None,
                report.status_code if report else None,
                _json(report.response_headers) if report and report.response_headers is not None else None,
                report.response_body if report else None,
                report.response_time_ms if report else None,
                report.transaction_id if report else None,
            )
        )
    names = (
        "ids", "statuses", "errors", "reported", "request_headers", "request_bodies", "retry_counts",
        "status_codes", "response_headers", "response_bodies", "times", "transaction_ids",
    )  # fmt: skip
    _execute(connection, _SAVE_REQUESTS, rows, names)


# A run without a report found out nothing: what earlier ones left stays.
_SAVE_REQUESTS = text(
    """
    UPDATE integration_request AS r SET
        request_status = given.status, error_message = given.error, updated_by = :user,
        request_headers = CASE WHEN reported THEN CAST(given.request_headers AS jsonb) ELSE r.request_headers END,
        request_body = CASE WHEN reported THEN CAST(given.request_body AS jsonb) ELSE r.request_body END,
        retry_count = CASE WHEN reported THEN given.retry_count ELSE r.retry_count END,
        response_status_code = CASE WHEN reported THEN given.status_code ELSE r.response_status_code END,
        response_headers = CASE WHEN reported THEN CAST(given.response_headers AS jsonb) ELSE r.response_headers END,
        response_body = CASE WHEN reported THEN CAST(given.response_body AS jsonb) ELSE r.response_body END,
        response_time_ms = CASE WHEN reported THEN given.time_ms ELSE r.response_time_ms END,
        external_transaction_id = CASE WHEN reported THEN given.transaction_id ELSE r.external_transaction_id END
    FROM unnest(
        CAST(:ids AS bigint[]), CAST(:statuses AS text[]), CAST(:errors AS text[]), CAST(:reported AS boolean[]),
        CAST(:request_headers AS text[]), CAST(:request_bodies AS text[]), CAST(:retry_counts AS integer[]),
        CAST(:status_codes AS integer[]), CAST(:response_headers AS text[]), CAST(:response_bodies AS text[]),
        CAST(:times AS integer[]), CAST(:transaction_ids AS text[])
    ) AS given (
        id, status, error, reported, request_headers, request_body, retry_count,
        status_code, response_headers, response_body, time_ms, transaction_id
    )
    WHERE r.id = given.id
    """
)


def _save_results(connection: Connection, runs: Sequence[Finished]) -> None:
    rows = [
        (
            question.request_id,
            result.verification_type,
            result.target_type,
            question.address_id if result.target_type == "address" else question.driver_id,
            result.status,
            result.confidence,
            _json(result.verified_data) if result.verified_data is not None else None,
            _json(result.discrepancies) if result.discrepancies else None,
            question.account.cache_ttl_hours if result.status != "error" else 0,
            report.transaction_id if report else None,
        )
        for run in runs
        if isinstance(question := run.inputs, Question)
        for report in (_report(run),)
        for result in _results(run, question)
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


def _end(outcome: Any) -> tuple[str, str | None]:
    """The request's status after such an outcome, and what stands in its `error_message`."""
    match outcome:
        case Done():
            return "completed", None
        case Retry(code, _, message):
            return "pending", _error(code, message)
        case Snooze(reason):
            return "pending", None if not reason else _error(reason, "")
        case GiveUp(code, message, result):
            return "timeout" if result is not None and result.is_timeout else "failed", _error(code, message)
        case Expired():
            return "failed", _error("deadline_passed", "The job's deadline passed before the answer came.")
        case Cancelled():
            return "failed", _error("cancelled", "Somebody asked for the job to stop.")
    raise TypeError("unknown outcome")


def _results(run: Finished, question: Question) -> Sequence[Result]:
    match run.outcome:
        case Done(result):
            return result.findings.results if result.findings is not None else ()
        case GiveUp():
            return error_results(question)
    return ()


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


def _error(code: str, message: str) -> str:
    return f"{code}: {message}" if message else code


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
