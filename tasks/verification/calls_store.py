"""The SQL of paid calls: money is set aside before a run, and what left is written down after it.

No call is ever missing. Before a run sends anything its request is marked as sent, in the claim's transaction, with the
number of calls it may make. The finish of the run replaces that by what it did send; if there is none, because the
worker died, whoever has the job next writes down what may have been sent, as uncertain.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import structlog
from sqlalchemy import Connection, text

from tasks.verification.question import Question
from tasks.verification.rows_store import Change, Rows
from tasks.verification.tally import Purse
from worker.job import Finished, Job
from worker.outcomes import Outcome, Snooze

_log = structlog.get_logger(__name__)

_ROOM_S = 15
"""After so long a run looks again whether others have given back what was set aside for them."""


def reserve(
    connection: Connection, inputs: Mapping[UUID, Question | Outcome[Any]]
) -> dict[UUID, Question | Outcome[Any]]:
    """Set money aside for runs that will call, where their tenant has a budget; those for which there is none wait."""
    priced = [
        asked
        for asked in inputs.values()
        if isinstance(asked, Question) and asked.known is None and asked.pending is None
    ]
    rows = [
        {"id": asked.request_id, "tenant": asked.tenant, "calls": asked.tally.at_most, "price": str(price)}
        for asked in priced
        if (price := asked.account.price)
    ]
    if not rows:
        return dict(inputs)
    granted = {row.request_id: row for row in connection.execute(_RESERVE, {"rows": orjson.dumps(rows).decode()})}
    return {
        job_id: asked
        if not isinstance(asked, Question) or (grant := granted.get(asked.request_id)) is None
        else _with_money(asked, grant)
        for job_id, asked in inputs.items()
    }


_RESERVE = text("SELECT request_id, budget_day, granted, is_used_up, now() FROM reserve_calls(CAST(:rows AS jsonb))")


def _with_money(asked: Question, grant: Any) -> Question | Snooze[Any]:
    if grant.granted:
        purse = Purse(grant.budget_day, grant.granted * (asked.account.price or Decimal(0)))
        return replace(asked, tally=replace(asked.tally, at_most=grant.granted, purse=purse))
    if not grant.is_used_up:
        reason = f"the budget of {asked.tenant}: what is left of it is set aside for calls under way"
        return Snooze(reason, timedelta(seconds=_ROOM_S))
    tomorrow = datetime.combine(grant.budget_day + timedelta(days=1), time(), UTC)
    return Snooze(f"the budget of {asked.tenant} for {grant.budget_day} is used up", tomorrow - grant.now)


def calls_made(runs: Sequence[Finished]) -> tuple[Change, Rows]:
    """What the runs sent, by reason."""
    return _CALLS, [
        _line(run.job, question, reason, calls)
        for run in runs
        if isinstance(question := run.inputs, Question) and question.known is None
        for reason, calls in question.tally.sent.items()
        if calls > 0
    ]


def settle(connection: Connection, runs: Sequence[Finished]) -> None:
    """What was set aside for the runs comes back. Before their requests are written: those of runs without inputs say
    what an earlier one may have sent."""
    unknown = [{"id": int(run.job.args["request_id"]), "fence": run.job.fence} for run in runs if run.inputs is None]
    if unknown:
        connection.execute(_INSERT_UNCERTAIN, {"rows": orjson.dumps(unknown).decode()})
    _settle(
        connection,
        [
            {
                "tenant": question.tenant,
                "day": purse.day,
                "reserved": str(purse.amount),
                "spent": str(question.tally.paid * (question.account.price or Decimal(0))),
            }
            for run in runs
            if isinstance(question := run.inputs, Question) and question.known is None
            if (purse := question.tally.purse) is not None
        ],
    )


def _line(job: Job, question: Question, reason: str, calls: int) -> dict[str, Any]:
    account = question.account
    return {
        "job": str(job.id),
        "request": question.request_id,
        "fence": job.fence,
        "tenant": question.tenant,
        "integration": account.integration_id,
        "configuration": account.configuration_id,
        "environment": account.environment,
        "reason": reason,
        "calls": calls,
        "price": None if account.price is None else "0" if reason == "poll" else str(account.price),
    }


_CALLS = Change(
    "calls",
    """
    INSERT INTO provider_call (
        job_id, request_id, fence, tenant, integration_id, configuration_id, environment, reason, calls, price
    )
    SELECT * FROM jsonb_to_recordset(CAST(:calls AS jsonb)) AS given (
        job uuid, request bigint, fence bigint, tenant text, integration bigint, configuration bigint,
        environment text, reason text, calls integer, price numeric
    )
    """,
)


def write_down_uncertain(connection: Connection, runs: Sequence[Job]) -> None:
    """For runs whose forerunner never told what it had sent: as many calls as it was allowed."""
    if runs:
        rows = [{"id": int(job.args["request_id"]), "fence": job.fence} for job in runs]
        connection.execute(_INSERT_UNCERTAIN, {"rows": orjson.dumps(rows).decode()})


# Only requests that are still marked as sent: whatever ended in an orderly way has taken that mark away, as this does.
_INSERT_UNCERTAIN = text(
    """
    WITH lost AS (
        SELECT request.*, configuration.environment, configuration.price_per_call, given.fence
        FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (id bigint, fence bigint)
        JOIN integration_request AS request USING (id)
        JOIN integration_configuration AS configuration ON configuration.id = request.configuration_id
        WHERE request.request_status = 'sent'
    ), written AS (
        INSERT INTO provider_call (
            job_id, request_id, fence, tenant, integration_id, configuration_id, environment, reason, calls,
            is_certain, price
        )
        SELECT job_id, id, fence - 1, coalesce(tenant, 'system'), integration_id, configuration_id, environment,
            CASE WHEN poll_url IS NOT NULL THEN 'poll'
                 WHEN retry_count > 0 OR request_body IS NOT NULL THEN 'retry' ELSE 'first' END,
            coalesce(calls_at_most, 1), false,
            CASE WHEN poll_url IS NULL OR price_per_call IS NULL THEN price_per_call ELSE 0 END
        FROM lost
    ), settled AS (
        UPDATE integration_request AS request SET request_status = 'pending' FROM lost WHERE request.id = lost.id
    )
    SELECT settle_calls(jsonb_agg(jsonb_build_object(
        'tenant', tenant, 'day', (sent_at AT TIME ZONE 'UTC')::date,
        'reserved', calls_at_most * price_per_call, 'spent', calls_at_most * price_per_call)))
    FROM lost WHERE price_per_call > 0 AND poll_url IS NULL HAVING count(*) > 0
    """
)


def _settle(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    for crossed in connection.execute(_SETTLE, {"rows": orjson.dumps(rows).decode()}):
        _log.warning(
            "budget.soft_limit_crossed",
            tenant=crossed.tenant,
            day=str(crossed.day),
            spent=str(crossed.spent),
            soft_limit=str(crossed.soft_limit),
        )


_SETTLE = text("SELECT tenant, day, spent, soft_limit FROM settle_calls(CAST(:rows AS jsonb))")
