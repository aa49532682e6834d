"""What was asked of providers and what it cost: sums of the ledger of calls. Reads only."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Spent:
    """Calls of one day (UTC), tenant, integration and environment, by reason; `cost` in US dollars.

    `uncertain` are those that workers may have made before they died; they are in `cost`, but in no reason. `avoided`
    are the requests that took an answer which was here. `unpriced` calls have no configured price and cost nothing.
    """

    day: date
    tenant: str
    integration: str
    environment: str
    first: int
    retry: int
    after_crash: int
    poll: int
    uncertain: int
    unpriced: int
    avoided: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class UnderWay:
    """Runs whose calls are not in the ledger yet, and how many these are at the most."""

    runs: int
    calls_at_most: int


def spent(
    connection: Connection, *, since: datetime | None = None, tenant: str | None = None, integration: str | None = None
) -> list[Spent]:
    """Sums by day, the newest first; `since` without a value is everything there is."""
    values = {"since": since, "tenant": tenant, "integration": integration}
    return [Spent(*row) for row in connection.execute(_SPENT, values)]


_SPENT = text(
    """
    WITH made AS (
        SELECT (call.at AT TIME ZONE 'UTC')::date AS day, call.tenant, integration.code, call.environment,
            coalesce(sum(calls) FILTER (WHERE is_certain AND reason = 'first'), 0) AS first,
            coalesce(sum(calls) FILTER (WHERE is_certain AND reason = 'retry'), 0) AS retry,
            coalesce(sum(calls) FILTER (WHERE is_certain AND reason = 'after_crash'), 0) AS after_crash,
            coalesce(sum(calls) FILTER (WHERE is_certain AND reason = 'poll'), 0) AS poll,
            coalesce(sum(calls) FILTER (WHERE NOT is_certain), 0) AS uncertain,
            coalesce(sum(calls) FILTER (WHERE price IS NULL), 0) AS unpriced,
            coalesce(sum(calls * price), 0) AS cost
        FROM provider_call AS call JOIN third_party_integration AS integration ON integration.id = call.integration_id
        WHERE (CAST(:since AS timestamptz) IS NULL OR call.at >= :since)
          AND (CAST(:tenant AS text) IS NULL OR call.tenant = :tenant)
          AND (CAST(:integration AS text) IS NULL OR integration.code = :integration)
        GROUP BY 1, 2, 3, 4
    ), avoided AS (
        SELECT (request.created_at AT TIME ZONE 'UTC')::date AS day, coalesce(request.tenant, 'system') AS tenant,
            integration.code, configuration.environment, count(*) AS avoided
        FROM integration_request AS request
        JOIN third_party_integration AS integration ON integration.id = request.integration_id
        JOIN integration_configuration AS configuration ON configuration.id = request.configuration_id
        WHERE request.request_status = 'completed' AND request.answered_by IS NOT NULL
          AND (CAST(:since AS timestamptz) IS NULL OR request.created_at >= :since)
          AND (CAST(:tenant AS text) IS NULL OR request.tenant = :tenant)
          AND (CAST(:integration AS text) IS NULL OR integration.code = :integration)
        GROUP BY 1, 2, 3, 4
    )
    SELECT day, tenant, code, environment, coalesce(first, 0), coalesce(retry, 0), coalesce(after_crash, 0),
        coalesce(poll, 0), coalesce(uncertain, 0), coalesce(unpriced, 0), coalesce(avoided, 0), coalesce(cost, 0)
    FROM made FULL JOIN avoided USING (day, tenant, code, environment)
    ORDER BY day DESC, tenant, code, environment
    """
)


def under_way(connection: Connection, *, tenant: str | None = None, integration: str | None = None) -> UnderWay:
    """What is being asked at this moment, and what died and was not begun again yet."""
    row = connection.execute(_UNDER_WAY, {"tenant": tenant, "integration": integration}).one()
    return UnderWay(row.runs, row.calls)


_UNDER_WAY = text(
    """
    SELECT count(*) AS runs, coalesce(sum(coalesce(calls_at_most, 1)), 0) AS calls
    FROM integration_request AS request
    JOIN third_party_integration AS integration ON integration.id = request.integration_id
    WHERE request_status = 'sent'
      AND (CAST(:tenant AS text) IS NULL OR request.tenant = :tenant)
      AND (CAST(:integration AS text) IS NULL OR integration.code = :integration)
    """
)
