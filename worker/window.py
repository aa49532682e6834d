"""The window of hints: which of the jobs that are due the workers hear of next.

The backlog stays in its rows; only a short window of it is hinted at. So this is where tenants take turns and where
priority, age and pauses count. Like the ledger's, these functions work on the caller's connection and commit nothing,
and the clock is the database's.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection, text

from models.ledger import DUE_RANK, ENDING, LANE_RESOURCE
from worker.ledger import READY
from worker.pauses import holds_back


@dataclass(frozen=True, slots=True)
class Due:
    """A job that is ready for a hint."""

    id: UUID
    kind: str


def pick(connection: Connection, queue: str, *, limit: int, settled_for: timedelta, lost_after: timedelta) -> list[Due]:
    """Mark up to `limit` due jobs as hinted and give them in the order in which they should start.

    Tenants take turns; within a tenant priority and waiting time decide. `settled_for` leaves the newest jobs to the
    hint their own enqueue sends; one that was hinted `lost_after` ago and is still free is hinted again. Paused jobs
    are left where they are; cancelled ones and those past their deadline come first, paused or not: they only end.
    The cost grows with the lanes (tenant, kind, resource) that have ready jobs and with `limit`, not with backlog or
    history: of a lane that is paused, one row is looked at.
    """
    rows = connection.execute(
        _PICK, {"queue": queue, "limit": limit, "settled_for": settled_for, "lost_after": lost_after}
    )
    return [Due(job_id, kind) for _, _, job_id, kind in sorted(rows)]


_LANES = f"""lanes (tenant, kind, resource) AS (
        (
            SELECT tenant, kind, {LANE_RESOURCE} FROM job
            WHERE state = 'ready' AND queue = :queue ORDER BY tenant, kind, {LANE_RESOURCE} LIMIT 1
        )
        UNION ALL
        SELECT next.* FROM lanes CROSS JOIN LATERAL (
            SELECT tenant, kind, {LANE_RESOURCE} FROM job
            WHERE state = 'ready' AND queue = :queue
              AND (tenant, kind, {LANE_RESOURCE}) > (lanes.tenant, lanes.kind, lanes.resource)
            ORDER BY tenant, kind, {LANE_RESOURCE} LIMIT 1
        ) AS next
    )"""  # noqa: S608 - constants of ours

# What is due ranks at most nine priorities behind now: the index never walks through later jobs.
_RANKS_AS_DUE = f"{DUE_RANK} <= now() - '2000-01-01 00:00:00+00'::timestamptz + interval '9 minutes'"

_PICK = text(
    f"""
    WITH RECURSIVE {_LANES},
    -- Materialized: the planner must not look into lanes first and at their pauses afterwards.
    free AS MATERIALIZED (
        SELECT * FROM lanes WHERE NOT EXISTS (
            SELECT FROM job_pause WHERE {holds_back(":queue", "lanes.kind", "lanes.tenant", "lanes.resource")}
        )
    ), due AS (
        SELECT mine.id, mine.rank, row_number() OVER (PARTITION BY free.tenant ORDER BY mine.rank) AS turn
        FROM free CROSS JOIN LATERAL (
            SELECT id, {DUE_RANK} AS rank FROM job
            WHERE state = 'ready' AND queue = :queue AND tenant = free.tenant AND kind = free.kind
              AND {LANE_RESOURCE} = free.resource
              AND {_RANKS_AS_DUE} AND run_at <= now()
              AND CASE WHEN hinted_at IS NULL THEN run_at <= now() - :settled_for
                       ELSE hinted_at < now() - :lost_after END
            ORDER BY rank LIMIT :limit
        ) AS mine
        ORDER BY turn, mine.rank LIMIT :limit
    ), ending AS (
        SELECT id, {DUE_RANK} AS rank FROM job
        WHERE state = 'ready' AND queue = :queue AND {ENDING} IS NOT NULL AND {ENDING} <= now()
          AND (hinted_at IS NULL OR hinted_at < now() - :lost_after)
        ORDER BY {ENDING} LIMIT :limit
    ), next AS (
        SELECT id, min(turn) AS turn, min(rank) AS rank
        FROM (SELECT id, turn, rank FROM due UNION ALL SELECT id, 0, rank FROM ending) AS found
        GROUP BY id ORDER BY 2, 3 LIMIT :limit
    ), free_to_mark AS (
        -- By the primary key alone: a predicate on the state invites a scan of every ready row. A job that was claimed
        -- a moment ago gets a mark that its finish takes away.
        SELECT job.id, next.turn, next.rank FROM next JOIN job USING (id) FOR UPDATE OF job SKIP LOCKED
    )
    UPDATE job SET hinted_at = now()
    FROM free_to_mark AS next WHERE job.id = next.id
    RETURNING next.turn, next.rank, job.id, job.kind
    """  # noqa: S608 - constants of ours
)


def is_due(connection: Connection, queue: str, kinds: Collection[str], due_for: timedelta) -> bool:
    """Whether some job of these kinds has been due for so long, and nothing holds it back: no pause, and no lock.

    Of each lane one row is looked at.
    """
    values = {"queue": queue, "kinds": list(kinds), "due_for": due_for}
    return connection.execute(_IS_DUE, values).first() is not None


_IS_DUE = text(
    f"""
    WITH RECURSIVE {_LANES}, free AS MATERIALIZED (
        SELECT * FROM lanes WHERE kind = ANY(CAST(:kinds AS text[])) AND NOT EXISTS (
            SELECT FROM job_pause WHERE {holds_back(":queue", "lanes.kind", "lanes.tenant", "lanes.resource")}
        )
    )
    SELECT FROM free CROSS JOIN LATERAL (
        SELECT FROM job
        WHERE state = 'ready' AND queue = :queue AND tenant = free.tenant AND kind = free.kind
          AND {LANE_RESOURCE} = free.resource AND {_RANKS_AS_DUE} AND run_at <= now() - :due_for
        ORDER BY {DUE_RANK} LIMIT 1 FOR UPDATE SKIP LOCKED
    ) AS mine
    LIMIT 1
    """  # noqa: S608 - constants of ours
)


def give_back(connection: Connection, ids: Collection[UUID]) -> None:
    """Forget the hints for jobs that this worker has no room for, so that they can be hinted again at once."""
    connection.execute(_GIVE_BACK, {"ids": list(ids)})


_GIVE_BACK = text(
    f"""
    UPDATE job SET hinted_at = NULL
    FROM (
        SELECT id FROM job
        WHERE id = ANY(CAST(:ids AS uuid[])) AND {READY} AND hinted_at IS NOT NULL
        FOR UPDATE SKIP LOCKED
    ) AS unclaimed
    WHERE job.id = unclaimed.id
    """  # noqa: S608 - constants of ours
)
