"""A batch is a handful of rows: its statements must find them by their keys, however small a table seems."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import TextClause, text

from models.users import SYSTEM_USER_ID
from tasks.verification import mapped_store, sharing_store, store
from tasks.verification.drivers import store as drivers_store
from tasks.verification.rows_store import _statement
from tasks.verification.vehicles import store as vehicles_store
from tests.tasks.verification.system import System
from worker.database import Database

ROWS = 3000
"""So many that reading them all for a few is waste, so few that the planner is tempted."""

CHANGES = {
    drivers_store._DRIVERS: "driver",
    drivers_store._LICENSES: "license",
    drivers_store._ADDRESSES: "address",
    vehicles_store._VEHICLES: "vehicle",
}
TOGETHER = (store._REPORTS, store._ENDS, store._REUSED, store._RESULTS, *CHANGES)
STATEMENTS: dict[str, tuple[TextClause, set[str]]] = {
    **{change.name: (_statement((change,)), {table}) for change, table in CHANGES.items()},
    **{f"mapped {table}": (_statement((change,)), {table}) for table, change in mapped_store._CHANGES.items()},
    "what runs leave": (_statement(TOGETHER), {*CHANGES.values()}),
    "asked questions": (sharing_store._BECOME_ASKER, {"asked_question"}),
}
DOCUMENTS = dict.fromkeys(("rows", "mapped", *(change.name for change in TOGETHER)), "[]")


@pytest.fixture
def crowded(system: System, db: Database) -> Database:
    with db.transaction() as connection:
        columns = "status_id, created_by"
        values = "(SELECT id FROM status WHERE code = 'ACTIVE'), CAST(:user AS uuid)"
        for table, more, filled in (
            ("address", "street_1, city, state, zip_code", "'1 Elm St', 'Austin', 'TX', '78701'"),
            ("driver", "first_name, last_name, date_of_birth", "'Ann', 'Ode', '1990-01-01'"),
            ("vehicle", "vin", "lpad(n::text, 17, '0')"),
            ("license", "driver_id, license_number, license_number_bidx, state_code, license_type",
             "(SELECT min(id) FROM driver), 'sealed', n::text, 'TX', 'DL'"),
        ):  # fmt: skip
            connection.execute(
                text(
                    f"INSERT INTO {table} ({more}, {columns})"  # noqa: S608 - constants above
                    f" SELECT {filled}, {values} FROM generate_series(1, {ROWS}) AS n"
                ),
                {"user": SYSTEM_USER_ID},
            )
        connection.execute(
            text(
                "INSERT INTO asked_question (tenant, question, asker, open_until)"
                " SELECT 'T', n::text, n, now() FROM generate_series(1, :rows) AS n"
            ),
            {"rows": ROWS},
        )
    return db


def test_a_batch_never_reads_a_whole_table(crowded: Database) -> None:
    whole = set()
    with crowded.transaction() as connection:
        connection.execute(text("SET LOCAL plan_cache_mode = force_generic_plan"))
        for name, (statement, tables) in STATEMENTS.items():
            plan = connection.execute(
                text(f"EXPLAIN (FORMAT JSON) {statement.text}"),
                {"user": SYSTEM_USER_ID, **DOCUMENTS, "forced": []},
            ).scalar_one()
            if {("Seq Scan", table) for table in tables} & set(scans(plan[0]["Plan"])):
                whole.add(name)
    assert whole == set()


def scans(node: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Kind and table of each node below, and of this one."""
    yield node["Node Type"], node.get("Relation Name")
    for child in node.get("Plans", ()):
        yield from scans(child)
