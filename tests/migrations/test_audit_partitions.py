"""Months of the audit trail: routing, boundaries in UTC, callers at the same time, and rows that came too early."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from threading import Barrier

import psycopg
import pytest

from tests.conftest import DatabaseUrls
from tests.migrations.rows import only

CREATE = "SELECT create_monthly_audit_partition(%s)"
WHERE = """SELECT tableoid::regclass::text FROM audit_logs WHERE resource_id = %s"""


def add(connection: psycopg.Connection, at: str) -> str:
    """Add an audit row and name the partition it went to."""
    connection.execute(
        "INSERT INTO audit_logs (created_at, action, resource_type, resource_id) VALUES (%s, 'test', 'row', %s)",
        [at, at],
    )
    partition: str = only(connection, WHERE, at)
    return partition


def bounds(connection: psycopg.Connection, partition: str) -> str:
    found: str = only(
        connection, "SELECT partitionboundary FROM pg_partitions WHERE partitiontablename = %s", partition
    )
    return found


def test_this_month_and_three_more_exist_after_the_migration(owner: psycopg.Connection) -> None:
    missing = owner.execute("""
        SELECT month FROM generate_series(0, 3) AS n,
               to_char(date_trunc('month', now() AT TIME ZONE 'UTC') + n * interval '1 month', 'YYYY_MM') AS month
         WHERE to_regclass('audit_logs_' || month) IS NULL""").fetchall()
    assert missing == []


def test_no_argument_means_next_month(owner: psycopg.Connection) -> None:
    expected = only(
        owner,
        """SELECT 'audit_logs_' || to_char(
             date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month', 'YYYY_MM')""",
    )
    assert only(owner, "SELECT create_monthly_audit_partition()") == expected


def test_rows_go_to_the_partition_of_their_month(database: DatabaseUrls) -> None:
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        assert only(connection, CREATE, date(2031, 12, 31)) == "audit_logs_2031_12"
        assert only(connection, CREATE, date(2032, 1, 1)) == "audit_logs_2032_01"
        assert add(connection, "2031-11-30 23:59:59.999999+00") == "audit_logs_default"
        assert add(connection, "2031-12-01 00:00:00+00") == "audit_logs_2031_12"
        assert add(connection, "2031-12-31 23:59:59.999999+00") == "audit_logs_2031_12"
        assert add(connection, "2032-01-01 00:00:00+00") == "audit_logs_2032_01"


@pytest.mark.parametrize("zone", ["America/Chicago", "Pacific/Kiritimati", "Etc/GMT+12", "Europe/Berlin"])
@pytest.mark.parametrize("month", [date(2028, 2, 29), date(2029, 3, 10), date(2029, 11, 4), date(2029, 12, 31)])
def test_months_begin_at_midnight_utc_in_any_time_zone(owner: psycopg.Connection, zone: str, month: date) -> None:
    following = date(month.year + month.month // 12, month.month % 12 + 1, 1)
    with owner.transaction(force_rollback=True):
        owner.execute("SELECT set_config('timezone', %s, true)", [zone])
        partition = only(owner, CREATE, month)
        owner.execute("SET LOCAL timezone = 'UTC'")
        assert bounds(owner, partition) == (
            f"FOR VALUES FROM ('{month:%Y-%m}-01 00:00:00+00') TO ('{following} 00:00:00+00')"
        )


def test_eight_callers_at_once_make_one_partition(database: DatabaseUrls) -> None:
    start = Barrier(8)

    def call(_: int) -> str:
        with psycopg.connect(database.app_url) as connection:
            start.wait()
            partition: str = only(connection, CREATE, date(2035, 5, 17))
            return partition

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(call, range(8))) == {"audit_logs_2035_05"}
    with psycopg.connect(database.owner_url) as connection:
        assert bounds(connection, "audit_logs_2035_05").startswith("FOR VALUES FROM ('2035-05-01")


def test_rows_that_came_before_their_month_move_into_it(database: DatabaseUrls) -> None:
    with psycopg.connect(database.app_url, autocommit=True) as connection:
        rows = ["2033-03-01 00:00:00+00", "2033-03-31 12:00:00+00", "2033-04-01 00:00:00+00"]
        assert {add(connection, at) for at in rows} == {"audit_logs_default"}
        connection.execute(CREATE, [date(2033, 3, 1)])
        assert [only(connection, WHERE, at) for at in rows] == [
            "audit_logs_2033_03",
            "audit_logs_2033_03",
            "audit_logs_default",
        ]


def test_a_partition_has_the_indexes_and_checks_of_its_parent(owner: psycopg.Connection) -> None:
    with owner.transaction(force_rollback=True):
        partition = only(owner, CREATE, date(2034, 1, 1))
        attached = only(
            owner,
            """SELECT count(*) FROM pg_inherits h JOIN pg_index i ON i.indexrelid = h.inhrelid
                WHERE i.indrelid = %s::regclass AND i.indisvalid""",
            partition,
        )
        assert attached == only(owner, "SELECT count(*) FROM pg_index WHERE indrelid = 'audit_logs'::regclass")
        checks = owner.execute(
            "SELECT conname FROM pg_constraint WHERE contype = 'c' AND conrelid = %s::regclass", [partition]
        ).fetchall()
        assert checks == [("ck_audit_logs_risk_score",)]
