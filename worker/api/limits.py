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
    SELECT client.id, span_s, date_trunc(unit, now()), asked
    FROM client, (VALUES (60, 'minute'), (3600, 'hour')) AS spans (span_s, unit) ORDER BY client.id, span_s
    ON CONFLICT (client_id, span_s) DO UPDATE SET
        requests = excluded.requests + CASE WHEN excluded.began_at > known.began_at THEN 0 ELSE known.requests END,
        began_at = greatest(excluded.began_at, known.began_at)
    RETURNING client_id, span_s, began_at, requests
"""
"""Counts the requests of each `client`: its id, and how many were `asked`."""

WAIT_S = """
    (SELECT extract(epoch FROM max(began_at + span_s * interval '1 second') FILTER (
                WHERE requests - asked + turn > CASE span_s WHEN 60 THEN per_minute ELSE per_hour END
            ) - now()) FROM counted WHERE client_id = client)
"""
"""What is left of the span, in seconds, where `counted` was more than the share of `client` at the `turn` of a request
among those `asked`."""

_COUNT = text(
    f"""
    WITH request AS (
        SELECT id AS client, 1 AS asked, 1 AS turn, rate_limit_per_minute AS per_minute, rate_limit_per_hour AS per_hour
        FROM oauth2_clients WHERE id = :client
    ), client AS (
        SELECT client AS id, asked FROM request
    ), counted AS ({COUNTED})
    SELECT {WAIT_S} AS wait_s, set_config('synchronous_commit', 'off', true) FROM request
    """  # noqa: S608 - constants of ours
)
