"""Rules that hold for every table: keys are indexed, `updated_at` is kept, names fit, documents can be searched."""

import re

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from tests.conftest import DatabaseUrls
from tests.migrations.catalogue import Catalogue
from tests.migrations.rows import insert, only


def test_every_foreign_key_is_indexed(catalogue: Catalogue) -> None:
    led_by = {(table, re.split(r"[(,)]", d.split(" USING ")[1])[1]) for (table, _), d in catalogue.indexes.items()}
    assert len(catalogue.foreign_keys()) > 60
    assert set(catalogue.foreign_keys()) - led_by == set()


def test_every_table_with_updated_at_keeps_it(catalogue: Catalogue) -> None:
    tables = {table for table, column in catalogue.columns if column == "updated_at"}
    assert len(tables) > 20
    for table in tables:
        definition = catalogue.triggers[table, f"trg_{table}_updated_at"]
        assert "BEFORE UPDATE" in definition
        assert "(old.* IS DISTINCT FROM new.*)" in definition
        assert "update_updated_at_column()" in definition


def test_names_are_not_cut(catalogue: Catalogue) -> None:
    names = [name for group in (catalogue.indexes, catalogue.constraints, catalogue.triggers) for _, name in group]
    assert max(len(name.encode()) for name in names) < 63


def test_updated_at_moves_only_when_something_changes(database: DatabaseUrls) -> None:
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        id_ = insert(connection, "producer", producer_code="P1", name="One")
        made = only(connection, "SELECT updated_at FROM producer WHERE id = %s", id_)
        connection.execute("UPDATE producer SET name = 'One' WHERE id = %s", [id_])
        assert only(connection, "SELECT updated_at FROM producer WHERE id = %s", id_) == made
        connection.execute("UPDATE producer SET name = 'Two' WHERE id = %s", [id_])
        assert only(connection, "SELECT updated_at FROM producer WHERE id = %s", id_) > made


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("customers", "data"),
        ("policies", "data"),
        ("claims", "data"),
        ("quotes", "vehicle_info"),
        ("quotes", "coverage_selections"),
    ],
)
def test_gin_indexes_serve_containment(owner: psycopg.Connection, table: str, column: str) -> None:
    with owner.transaction():
        owner.execute("SET LOCAL enable_seqscan = off")
        plan = owner.execute(
            sql.SQL("EXPLAIN SELECT id FROM {} WHERE {} @> %s").format(sql.Identifier(table), sql.Identifier(column)),
            [Jsonb({"segment": "gold"})],
        ).fetchall()
    assert any(f"idx_{table}_{column}" in line for (line,) in plan)
