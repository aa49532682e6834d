"""How often a client may ask: so many requests in each minute and in each hour of the clock.

Counted in PostgreSQL, which every request needs anyhow: emptying or losing Redis neither opens the door nor shuts it.
"""

from decimal import Decimal
from math import ceil
from uuid import UUID

from fastapi import HTTPException
from sqlalchemy import Connection, text


def count(connection: Connection, client: UUID) -> int:
    """Count one request of a client; gives the seconds it has to wait, 0 if it may go on.

    The transaction's commit does not wait for the disk: requests of one client queue for its counter, and a crash of
    the database's machine may forget the last half second of them.
    """
    return seconds_to_wait(connection.execute(_COUNT, {"client": client}).one().wait_s)


def seconds_to_wait(wait_s: Decimal | None) -> int:
    return 0 if wait_s is None else max(1, ceil(wait_s))


def too_many(wait_s: int) -> HTTPException:
    """What a client is told that has to wait."""
    return HTTPException(429, f"too many requests, ask again in {wait_s} s", {"Retry-After": str(wait_s)})


# A refused request counts too; it makes no difference, because each span begins anew. Rows are taken in one order, so
# two requests can't wait for each other. A transaction that began before the turn of the minute may come after one
# that began later: `greatest` lets it count in the newer span.
COUNTED = """
    INSERT INTO oauth2_request_counts AS known (client_id, span_s, began_at, requests)
    SELECT client.id, span_s, date_trunc(unit, now()), 1
    FROM client, (VALUES (60, 'minute'), (3600, 'hour')) AS spans (span_s, unit) ORDER BY span_s
    ON CONFLICT (client_id, span_s) DO UPDATE SET
        requests = CASE WHEN excluded.began_at > known.began_at THEN 1 ELSE known.requests + 1 END,
        began_at = greatest(excluded.began_at, known.began_at)
    RETURNING span_s, began_at, requests
"""
"""Counts a request of `client`, which has an id and limits or is empty."""

WAIT_S = """
    (SELECT extract(epoch FROM max(began_at + span_s * interval '1 second') FILTER (
                WHERE requests > CASE span_s WHEN 60 THEN rate_limit_per_minute ELSE rate_limit_per_hour END
            ) - now()) FROM counted, client)
"""
"""What is left of the span, in seconds, where `counted` is more than the client's share of it."""

_COUNT = text(
    f"""
    WITH client AS (SELECT id, rate_limit_per_minute, rate_limit_per_hour FROM oauth2_clients WHERE id = :client),
    counted AS ({COUNTED})
    SELECT {WAIT_S} AS wait_s, set_config('synchronous_commit', 'off', true)
    """  # noqa: S608 - constants of ours
)
