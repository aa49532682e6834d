"""What a run leaves: its calls, its request, the results and, for an answer, the platform's own rows. One statement for
any number of jobs, but for what follows from it.
"""

from collections.abc import Iterator, Sequence

import orjson
from sqlalchemy import Connection, text

from tasks.verification import calls_store, sharing_store
from tasks.verification.apis import APIS
from tasks.verification.drivers.findings import Findings
from tasks.verification.drivers.store import driver_changes, save_mapped_drivers
from tasks.verification.ending import deed_of, request_end, results_of
from tasks.verification.followup_store import Asker, follow_up, read_inputs
from tasks.verification.question import KnownAnswer, Question
from tasks.verification.question_store import request_id
from tasks.verification.report import Report
from tasks.verification.results import Result
from tasks.verification.reuse import Reused
from tasks.verification.rows_store import Change, Rows, execute
from tasks.verification.vehicles.findings import VehicleFindings
from tasks.verification.vehicles.store import save_mapped_vehicles, vehicle_changes
from worker.audit import ADD_DEEDS
from worker.job import Finished
from worker.outcomes import Done, Snooze


def save(connection: Connection, finished: Sequence[Finished]) -> None:
    """Bring the requests, and for answered ones the rows that they are about, up to date."""
    runs = [run for run in finished if not (isinstance(run.outcome, Done) and run.outcome.result is None)]
    if not runs:
        return
    calls_store.settle(connection, runs)
    answered = [
        (run.inputs, run.outcome.result.findings, Asker(run.inputs.tenant, run.job.trace_context))
        for run in runs
        if isinstance(run.outcome, Done) and run.outcome.result.findings is not None
    ]
    drivers = [(asked, found, asker) for asked, found, asker in answered if isinstance(found, Findings)]
    vehicles = [(asked, found, asker) for asked, found, asker in answered if isinstance(found, VehicleFindings)]
    askers = {f"driver {asked.driver_id}": asker for asked, _, asker in drivers if asked.quote_id is not None}
    askers |= {f"vehicle {change.vehicle_id}": asker for _, found, asker in vehicles for change in found.changes}
    inputs = read_inputs(connection, askers) if askers else None
    about_drivers = [(asked, found) for asked, found, _ in drivers]
    about_vehicles = [(asked, found) for asked, found, _ in vehicles]
    made = execute(
        connection,
        calls_store.calls_made(runs),
        *_requests(runs),
        (_RESULTS, _results(runs)),
        (_DEEDS, [deed for run in runs if (deed := deed_of(run)) is not None]),
        *driver_changes(about_drivers),
        vehicle_changes(about_vehicles),
        asking=_IS_MASKED_WHEN_OVER,
    )
    save_mapped_drivers(connection, about_drivers)
    save_mapped_vehicles(connection, about_vehicles)
    if inputs is not None:
        follow_up(connection, inputs, askers)
    sharing_store.close(connection, runs)
    if made is not None and made.scalar_one():
        connection.execute(_MASK_WHEN_OVER, {"ids": [request_id(run.job) for run in runs]})


# What `mask_when_over` itself looks at first: where the policy is another one, as by default, it need not be called.
_IS_MASKED_WHEN_OVER = """
    SELECT EXISTS (
        SELECT FROM data_retention_policies WHERE table_name = 'integration_request' AND mask_after_days = 0
    )
"""

# After the answers' time was written: until that is over they are not masked.
_MASK_WHEN_OVER = text("SELECT mask_when_over(CAST(:ids AS bigint[]))")


def _requests(runs: Sequence[Finished]) -> Iterator[tuple[Change, Rows]]:
    reported, unreported, reused = [], [], []
    for run in runs:
        status, error = request_end(run.outcome)
        given_back = run.outcome.given_back if isinstance(run.outcome, Snooze) else 0
        end = {"id": request_id(run.job), "status": status, "error": error, "given_back": given_back}
        if (known := _known(run)) is not None:
            reused.append(
                {
                    "id": request_id(run.job),
                    "source": known.request_id,
                    "status_code": known.status_code,
                    "transaction_id": known.transaction_id,
                }
            )
            continue
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
                "poll_url": report.poll_url,
            }
        )
    yield _REPORTS, reported
    yield _ENDS, unreported
    yield _REUSED, reused


# Here and below the second condition has the rows found by key: where the table was small when a statement was planned,
# a join alone would read all of it.
_REPORTS = Change(
    "reports",
    """
    WITH given AS (
        SELECT * FROM jsonb_to_recordset(CAST(:reports AS jsonb)) AS given (
            id bigint, status text, error text, request_headers jsonb, request_body jsonb, retry_count integer,
            status_code integer, response_headers jsonb, response_body jsonb, time_ms integer, transaction_id text,
            poll_url text
        )
    )
    UPDATE integration_request SET
        request_status = given.status, error_message = given.error, updated_by = :user,
        request_headers = given.request_headers, request_body = given.request_body,
        retry_count = given.retry_count, response_status_code = given.status_code,
        response_headers = given.response_headers, response_body = given.response_body,
        response_time_ms = given.time_ms, external_transaction_id = given.transaction_id,
        poll_url = given.poll_url,
        pending_since = CASE WHEN given.poll_url IS NOT NULL THEN coalesce(pending_since, now()) END
    FROM given
    WHERE integration_request.id = given.id AND integration_request.id = ANY(ARRAY(SELECT id FROM given))
    """,
)

# Such a run has found out nothing: what earlier ones left stays, but for retries that turn out to be an outage's.
_ENDS = Change(
    "ends",
    """
    WITH given AS (
        SELECT * FROM jsonb_to_recordset(CAST(:ends AS jsonb))
            AS given (id bigint, status text, error text, given_back integer)
    )
    UPDATE integration_request SET
        request_status = given.status, error_message = given.error, answered_by = NULL, updated_by = :user,
        retry_count = greatest(0, retry_count - given.given_back)
    FROM given
    WHERE integration_request.id = given.id AND integration_request.id = ANY(ARRAY(SELECT id FROM given))
    """,
)


# The answer itself stays where it is: a copy would be one more place to mask.
_REUSED = Change(
    "reused",
    """
    WITH given AS (
        SELECT * FROM jsonb_to_recordset(CAST(:reused AS jsonb))
            AS given (id bigint, source bigint, status_code integer, transaction_id text)
    )
    UPDATE integration_request SET
        request_status = 'completed', error_message = NULL, updated_by = :user, answered_by = given.source,
        response_status_code = given.status_code, external_transaction_id = given.transaction_id
    FROM given
    WHERE integration_request.id = given.id AND integration_request.id = ANY(ARRAY(SELECT id FROM given))
    """,
)


def _results(runs: Sequence[Finished]) -> Rows:
    return [
        {
            "request_id": asked.request_id,
            "type": result.verification_type,
            "target_type": result.target_type,
            "target": result.target_id,
            "status": result.status,
            "confidence": result.confidence,
            "data": result.verified_data,
            "discrepancies": result.discrepancies or None,
            "ttl_hours": _ttl_hours(asked, result),
            "transaction_id": source.transaction_id if source else None,
            "until": known.until if known else None,
        }
        for run in runs
        if isinstance(asked := run.inputs, Question)
        for known in (_known(run),)
        for source in (known or _report(run),)
        for result in results_of(run.outcome, asked)
    ]


_RESULTS = Change(
    "results",
    """
    INSERT INTO integration_verification_result (
        request_id, verification_type, target_entity_type, target_entity_id, verification_status, confidence_score,
        verified_data, discrepancies, cache_expires_at, is_cached_result, external_verification_id, status_id,
        created_by
    )
    SELECT request_id, type, target_type, target, given.status, confidence, data, discrepancies,
        coalesce(until, CASE WHEN ttl_hours > 0 THEN now() + make_interval(hours => ttl_hours) END),
        until IS NOT NULL, transaction_id,
        (SELECT id FROM status WHERE code = 'ACTIVE'), :user
    FROM jsonb_to_recordset(CAST(:results AS jsonb)) AS given (
        request_id bigint, type text, target_type text, target bigint, status text, confidence numeric,
        data jsonb, discrepancies jsonb, ttl_hours integer, transaction_id text, until timestamptz
    )
    """,
)

_DEEDS = Change("deeds", ADD_DEEDS)


def _report(run: Finished) -> Report | None:
    result = getattr(run.outcome, "result", None)
    return result if isinstance(result, Report) else None


def _ttl_hours(asked: Question, result: Result) -> int:
    """How long a later question may be answered by it: the configuration says, but not about what is never kept."""
    is_reusable = result.status != "error" and APIS[asked.account.api].is_reusable
    return asked.account.cache_ttl_hours if is_reusable else 0


def _known(run: Finished) -> KnownAnswer | None:
    result = getattr(run.outcome, "result", None)
    return result.known if isinstance(result, Reused) else None
