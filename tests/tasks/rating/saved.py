"""Filed rows and quotes in a real database, and the rating worker's engine run over them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from tasks.rating import task
from tests.migrations.rows import insert
from tests.tasks.rating.filed import STEPS, rounding
from worker.database import Database
from worker.job import Kind
from worker.process.engine import Engine

KINDS: dict[str, Kind] = {
    kind.name: kind for kind in (task.recalculate, task.recalculate_many, task.recalculate_range, task.follow_dates)
}

FACTORS = {
    "territory_factors": {"101": 1.15, "102": 1.3},
    "vehicle_factors": {"sedan": 1.05, "truck": 1.2},
    "driver_factors": {"adult": 1.24, "teen": 2.5},
    "credit_factors": {"good": 0.9, "fair": 1.1},
}


def file_plan(connection: psycopg.Connection, state: str = "TX", **values: Any) -> UUID:
    """A plan from 2026 on with one rate table, BI at 200, both active; vector 1 of the worked examples."""
    where = {"state": state, "product_type": "auto", "effective_date": "2026-01-01", "is_active": True}
    defaults = {"name": "Test plan", "steps": STEPS, "rounding": rounding()}
    plan: UUID = insert(connection, "rating_plans", **where | defaults | values)
    file_rates(connection, state)
    return plan


def file_rates(connection: psycopg.Connection, state: str = "TX", base: str = "200", **values: Any) -> UUID:
    where = {"state": state, "product_type": "auto", "effective_date": "2026-01-01", "is_active": True}
    found: UUID = insert(
        connection, "rate_tables", **where | {"coverage_type": "BI", "base_rate": base} | FACTORS | values
    )
    return found


def add_quote(connection: psycopg.Connection, state: str = "TX", **values: Any) -> UUID:
    """A quote that the plan rates at 269.51."""
    defaults = {
        "state": state,
        "product_type": "auto",
        "effective_date": "2026-06-01",
        "rating_inputs": {"territory": "101", "credit_tier": "good"},
        "coverage_selections": {"BI": True},
        "vehicle_info": {"vehicles": [{"class": "sedan"}]},
        "drivers": [{"class": "adult"}],
    }
    found: UUID = insert(connection, "quotes", **defaults | values)
    return found


def add_quotes(connection: psycopg.Connection, count: int, state: str = "TX") -> list[UUID]:
    """As many quoted quotes of the same kind, never rated yet."""
    rows = connection.execute(
        """
        INSERT INTO quotes (state, product_type, status, effective_date, rating_inputs, coverage_selections,
            vehicle_info, drivers)
        SELECT %s, 'auto', 'quoted', '2026-06-01', %s, '{"BI": true}', '{"vehicles": [{"class": "sedan"}]}',
            '[{"class": "adult"}]'
        FROM generate_series(1, %s) RETURNING id
        """,
        [state, Jsonb({"territory": "101", "credit_tier": "good"}), count],
    )
    return [row[0] for row in rows]


def quote_of(connection: psycopg.Connection, quote_id: UUID) -> dict[str, Any]:
    with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        found = cursor.execute("SELECT * FROM quotes WHERE id = %s", [quote_id]).fetchone()
    assert found is not None
    return found


def forget_jobs(connection: psycopg.Connection) -> None:
    """What filing the rows asked for is not what a test is about."""
    connection.execute("DELETE FROM job")


def jobs(connection: psycopg.Connection, kind: str) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        return cursor.execute("SELECT * FROM job WHERE kind = %s ORDER BY created_at, id", [kind]).fetchall()


def run_due(engine: Engine, db: Database, connection: psycopg.Connection, *kinds: str) -> int:
    """Have the due jobs of these kinds (default: all of rating) run once; gives how many there were."""
    count = 0
    for name in kinds or KINDS:
        ids: Sequence[UUID] = [
            row[0]
            for row in connection.execute(
                "SELECT id FROM job WHERE state = 'ready' AND kind = %s"
                " AND (run_at <= now() OR cancel_requested_at IS NOT NULL) ORDER BY id",
                [name],
            )
        ]
        if ids:
            engine.begin(KINDS[name], ids)
            engine.drain()
        count += len(ids)
    return count


def run_all(engine: Engine, db: Database, connection: psycopg.Connection) -> None:
    """Until no job of rating is alive but those that wait for a verification; what is scheduled is due at once."""
    for _ in range(50):
        connection.execute("UPDATE job SET run_at = now() WHERE state = 'ready' AND kind <> 'rating.recalculate'")
        if not run_due(engine, db, connection):
            return
    raise AssertionError("it goes on and on")


def written(writes: psycopg.Connection) -> dict[UUID, int]:
    """How often each quote's premium was written, by the fixture `writes`."""
    return dict(writes.execute("SELECT quote_id, count(*) FROM premium_written GROUP BY quote_id").fetchall())
