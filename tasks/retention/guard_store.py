"""How much a run is about to remove of a table, and whether that is more than it may without a person's word."""

from datetime import datetime

from sqlalchemy import Connection, text

from tasks.retention import statements
from tasks.retention.plan import Policy, Removal, is_too_much
from worker.maintenance.stages import Problem

_FEW = 1000
"""So many rows may go whatever their share: most of a small table may be overdue."""

_COUNTED = 100_000
"""Up to so many rows the guard counts what a table has; for more it takes the planner's word."""

SLICE = 10_000
"""Rows that one statement counts. However long the backlog, counting it is no long transaction, and in time."""


def count(connection: Connection, removal: Removal, condition: str, cutoff: datetime) -> int:
    statement = text(statements.count(removal, condition))
    rows, behind = 0, "-infinity"
    while True:
        counted = connection.execute(statement, {"cutoff": cutoff, "limit": SLICE, "behind": behind}).one()
        rows, behind = rows + int(counted.number), counted.at
        if counted.number < SLICE:
            return rows


def refusal(connection: Connection, policy: Policy, overdue: int) -> Problem | None:
    """A mistaken policy must not empty a table: more than its share waits for a person."""
    enough = int(overdue / policy.max_share) + 1
    total = connection.execute(_ESTIMATE, {"table": policy.table}).scalar_one()
    if total < 0 or enough <= _COUNTED:
        # The table's name was checked when the policy was saved.
        query = f"SELECT count(*) FROM (SELECT FROM {policy.table} LIMIT :enough) AS counted"  # noqa: S608 - see above
        total = connection.execute(text(query), {"enough": enough}).scalar_one()
    if not is_too_much(overdue, total, policy.max_share, floor=_FEW):
        return None
    return Problem(
        "would_remove_too_much",
        f"{policy.table}: {overdue} rows are overdue, more than {policy.max_share:.1%} of the table. Nothing of"
        " it was removed; if that is right, `worker run retention --confirm`.",
    )


_ESTIMATE = text("SELECT reltuples FROM pg_class WHERE oid = to_regclass(:table)")  # -1 before the first ANALYZE
