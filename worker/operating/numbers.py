"""How queues, processes and the database stand, in numbers for monitoring. Reads only.

Cheap whatever waits: of each lane (queue, tenant, kind, resource) at most `LANE_MAX` jobs are looked at, those that are
due first, by the index that the dispatcher uses; the others by the small partial indexes of running and failed jobs.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from models.ledger import DUE_RANK, LANE_RESOURCE
from worker.pauses import holds_back
from worker.process.presence import AT_WORK_FOR

LANE_MAX = 2_000
"""A lane with more waiting jobs counts as one with so many."""

LANES_MAX = 1_000
FAILED_MAX = 10_000

MANY = 100
"""A tenant with more waiting jobs in a queue is of the class `many`, the others are of `few`: where `few` waits long,
somebody's bulk is in everybody's way."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Jobs of a queue, kind and class of tenants that wait for one reason; `ready` is that of those that are due now.

    `oldest_s` is for how long the oldest has been due; None where it is not.
    """

    queue: str
    kind: str
    tenant_class: str
    reason: str
    jobs: int
    oldest_s: float | None


def waiting(connection: Connection) -> list[Waiting]:
    """What waits, and what for: ready, paused, limited, breaker, budget, retry, batch or scheduled."""
    values = {"lane_max": LANE_MAX, "lanes_max": LANES_MAX, "many": MANY}
    return [Waiting(*row) for row in connection.execute(_WAITING, values)]


_WAITING = text(
    f"""
    WITH RECURSIVE lanes (queue, tenant, kind, resource, number) AS (
        (
            SELECT queue, tenant, kind, {LANE_RESOURCE}, 1 FROM job
            WHERE state = 'ready' ORDER BY queue, tenant, kind, {LANE_RESOURCE} LIMIT 1
        )
        UNION ALL
        SELECT next.*, lanes.number + 1 FROM lanes CROSS JOIN LATERAL (
            SELECT queue, tenant, kind, {LANE_RESOURCE} FROM job
            WHERE state = 'ready'
              AND (queue, tenant, kind, {LANE_RESOURCE}) > (lanes.queue, lanes.tenant, lanes.kind, lanes.resource)
            ORDER BY queue, tenant, kind, {LANE_RESOURCE} LIMIT 1
        ) AS next WHERE lanes.number < :lanes_max
    ), told AS MATERIALIZED (
        SELECT lanes.*, EXISTS (
            SELECT FROM job_pause WHERE {holds_back("lanes.queue", "lanes.kind", "lanes.tenant", "lanes.resource")}
        ) AS is_paused
        FROM lanes
    ), counted AS (
        SELECT told.queue, told.tenant, told.kind, mine.reason, count(*) AS jobs, min(mine.due_at) AS due_at
        FROM told CROSS JOIN LATERAL (
            SELECT CASE
                    WHEN run_at <= now() THEN CASE WHEN told.is_paused THEN 'paused' ELSE 'ready' END
                    WHEN run_at = 'infinity' THEN 'batch'
                    WHEN waiting_for LIKE 'limited until %' OR waiting_for LIKE 'too many calls %' THEN 'limited'
                    WHEN waiting_for LIKE 'breaker of %' THEN 'breaker'
                    WHEN waiting_for LIKE 'the budget of %' THEN 'budget'
                    WHEN waiting_for LIKE 'retry after %' THEN 'retry'
                    ELSE 'scheduled'
                END AS reason,
                CASE WHEN run_at <= now() AND NOT told.is_paused THEN run_at END AS due_at
            FROM job
            WHERE state = 'ready' AND queue = told.queue AND tenant = told.tenant AND kind = told.kind
              AND {LANE_RESOURCE} = told.resource
            ORDER BY {DUE_RANK} LIMIT :lane_max
        ) AS mine
        GROUP BY told.queue, told.tenant, told.kind, mine.reason
    ), classed AS (
        SELECT *, CASE WHEN sum(jobs) OVER (PARTITION BY queue, tenant) > :many THEN 'many' ELSE 'few' END AS class
        FROM counted
    )
    SELECT queue, kind, class, reason, CAST(sum(jobs) AS bigint),
        CAST(extract(epoch FROM now() - min(due_at)) AS double precision)
    FROM classed GROUP BY queue, kind, class, reason
    """  # noqa: S608 - constants of ours
)


def running(connection: Connection) -> list[tuple[Any, ...]]:
    """Queue, kind and number of jobs that run: no more than the workers have places."""
    return [tuple(row) for row in connection.execute(_RUNNING)]


_RUNNING = text("SELECT queue, kind, count(*) FROM job WHERE state = 'running' GROUP BY queue, kind")


def failed(connection: Connection) -> list[tuple[Any, ...]]:
    """Kind, code, and how many of the latest `FAILED_MAX` failures were in the last hour, and in the last day."""
    return [tuple(row) for row in connection.execute(_FAILED, {"failed_max": FAILED_MAX})]


_FAILED = text(
    """
    SELECT kind, coalesce(error_code, 'none'), count(*) FILTER (WHERE finished_at > now() - interval '1 hour'), count(*)
    FROM (
        SELECT kind, error_code, finished_at FROM job
        WHERE state = 'failed' AND finished_at > now() - interval '1 day' ORDER BY finished_at DESC LIMIT :failed_max
    ) AS latest
    GROUP BY 1, 2
    """
)


def processes(connection: Connection) -> list[tuple[Any, ...]]:
    """Queue, and how many processes take jobs from it, by their presence."""
    return [tuple(row) for row in connection.execute(_PROCESSES, {"at_work_for": AT_WORK_FOR})]


_PROCESSES = text(
    """
    SELECT queue, count(*) FROM worker_process CROSS JOIN unnest(queues) AS queue
    WHERE seen_at > now() - :at_work_for GROUP BY queue
    """
)


def oldest_transaction_s(connection: Connection) -> float:
    """Age of the oldest transaction of this database that this role may see: vacuum waits for it."""
    return float(connection.execute(_OLDEST_TRANSACTION).scalar_one())


_OLDEST_TRANSACTION = text(
    """
    SELECT coalesce(extract(epoch FROM now() - min(xact_start)), 0) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
    """
)


def database_clock(connection: Connection) -> float:
    """Unix time of the database."""
    return float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
