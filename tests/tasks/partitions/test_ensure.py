"""The partitions job on a real database, run by the engine: it makes what is missing and leaves what is there."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from models.users import SYSTEM_USER_ID
from tasks.partitions.months import months_to_ensure, watched_month
from tasks.partitions.task import ensure, repair
from tests.conftest import DatabaseUrls, migrate
from tests.migrations.rows import insert, only
from tests.tasks.maintaining import Maintained, maintained
from tests.waiting import in_thread, until
from tests.worker.asking import job
from worker.database import Database
from worker.settings import Settings

PARTITIONS = """
    SELECT c.relname, c.oid::bigint, pg_get_expr(c.relpartbound, c.oid)
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'audit_logs'::regclass ORDER BY c.relname
"""


@pytest.fixture
def trail(settings: Settings, db: Database, database: DatabaseUrls) -> Iterator[Maintained]:
    with maintained(settings, db, database, ensure) as trail:
        yield trail


def partitions(owner: psycopg.Connection) -> dict[str, tuple[object, ...]]:
    return {row[0]: row[1:] for row in owner.execute(PARTITIONS)}


def today(owner: psycopg.Connection) -> date:
    found: date = only(owner, "SELECT (now() AT TIME ZONE 'UTC')::date")
    return found


def needed(owner: psycopg.Connection) -> list[str]:
    return [f"audit_logs_{month:%Y_%m}" for month in months_to_ensure(today(owner))]


def drop(owner: psycopg.Connection, name: str) -> None:
    owner.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))


def counts(run: dict[str, Any], stage: str) -> dict[str, int]:
    found: dict[str, int] = run["progress"]["counts"].get(stage, {})
    return found


def add(connection: psycopg.Connection, at: str, **values: Any) -> None:
    connection.execute(
        "INSERT INTO audit_logs (created_at, action, resource_type, resource_id, user_id)"
        " VALUES (%s, 'test', 'r', %s, %s)",
        [at, at, values.get("user_id")],
    )


def places(connection: psycopg.Connection) -> dict[str, str]:
    rows = connection.execute("SELECT resource_id, tableoid::regclass::text FROM audit_logs WHERE action = 'test'")
    return dict(rows.fetchall())


def test_missing_months_are_made_and_the_others_left(trail: Maintained) -> None:
    this_month, second, *later = needed(trail.owner)
    for name in later:
        drop(trail.owner, name)
    kept = partitions(trail.owner)[this_month]
    assert counts(trail.run(), "months ahead") == {"there": 2, "made": 2}
    assert {this_month, second, *later} <= set(partitions(trail.owner))
    assert partitions(trail.owner)[this_month] == kept


def test_a_second_run_changes_nothing(trail: Maintained) -> None:
    trail.run()
    before = partitions(trail.owner)
    assert counts(trail.run(), "months ahead") == {"there": 4}
    assert partitions(trail.owner) == before


def test_a_dry_run_makes_nothing(trail: Maintained) -> None:
    last = needed(trail.owner)[-1]
    drop(trail.owner, last)
    assert counts(trail.run(dry_run=True), "months ahead") == {"there": 3, "made": 1}
    assert last not in partitions(trail.owner)


def test_the_application_makes_partitions_without_owning_the_table(trail: Maintained) -> None:
    last = needed(trail.owner)[-1]
    drop(trail.owner, last)
    trail.run()
    assert only(trail.owner, "SELECT tableowner = current_user FROM pg_tables WHERE tablename = %s", last)


def test_inserts_go_on_while_a_month_is_made(trail: Maintained) -> None:
    with psycopg.connect(trail.urls.app_url) as making, trail.connect() as adding:
        making.execute("SELECT create_monthly_audit_partition('2040-01-01')")  # its transaction is still open
        adding.execute("SET lock_timeout = '100ms'")
        add(adding, f"{today(trail.owner)} 00:00:00+00")
    assert list(places(trail.owner).values()) == needed(trail.owner)[:1]


def test_a_month_that_is_missing_close_ahead_raises_an_alarm(trail: Maintained) -> None:
    watched = watched_month(today(trail.owner))
    drop(trail.owner, f"audit_logs_{watched:%Y_%m}")
    alarms = trail.run()["progress"]["alarms"]
    assert [alarm["code"] for alarm in alarms] == ["partition_missing"]
    assert trail.run()["progress"]["alarms"] == []


def test_a_job_that_was_missed_for_three_months_is_repaired(trail: Maintained) -> None:
    """Nobody made partitions: rows fall into the default one, are found there, and move to months of their own."""
    rows = ["2031-01-31 23:59:59.999999+00", "2031-02-01 00:00:00+00", "2031-03-15 12:00:00+00"]
    for at in rows:
        add(trail.owner, at)
    assert set(places(trail.owner).values()) == {"audit_logs_default"}
    first, second = trail.run(), trail.run()
    assert [alarm["code"] for alarm in first["progress"]["alarms"]] == ["rows_in_default"]
    asked = trail.owner.execute("SELECT id FROM job WHERE kind = 'partitions.repair'").fetchall()
    assert (len(asked), second["state"]) == (1, "done"), "one repair a day is enough"
    trail.engine.begin(repair, [asked[0][0]])
    trail.engine.drain()
    assert job(trail.db, asked[0][0])["progress"]["counts"] == {"months missed": {"repaired": 3}}
    assert list(places(trail.owner).values()) == ["audit_logs_2031_01", "audit_logs_2031_02", "audit_logs_2031_03"]
    assert trail.run()["progress"]["alarms"] == []


OLD = "2015-06-15 12:00:00+00"


def old_month(owner: psycopg.Connection, **values: Any) -> None:
    owner.execute("SELECT create_monthly_audit_partition('2015-06-01')")
    add(owner, OLD, **values)


def a_night_later(owner: psycopg.Connection) -> None:
    owner.execute("UPDATE audit_months SET counted_on = counted_on - 1 WHERE dropped_at IS NULL")


def test_a_month_that_is_over_is_detached_and_dropped_two_nights_later(trail: Maintained) -> None:
    old_month(trail.owner)
    assert counts(trail.run(), "months over") == {"detached": 1}
    assert places(trail.owner) == {}
    assert only(trail.owner, "SELECT count(*) FROM audit_logs_2015_06") == 1
    assert counts(trail.run(), "months over") == {"waiting": 1}, "a second run of the same night counts for nothing"
    a_night_later(trail.owner)
    assert counts(trail.run(), "months over") == {"waiting": 1}
    a_night_later(trail.owner)
    assert counts(trail.run(), "months over") == {"dropped": 1}
    assert only(trail.owner, "SELECT to_regclass('audit_logs_2015_06')") is None
    assert counts(trail.run(), "months over") == {}
    (record,) = trail.owner.execute("SELECT month, row_count, dropped_at IS NOT NULL FROM audit_months").fetchall()
    assert record == (date(2015, 6, 1), 1, True)
    told = trail.owner.execute("SELECT action, resource_id FROM audit_logs WHERE action LIKE 'audit%' ORDER BY action")
    assert told.fetchall() == [("audit_months.detached", "2015_06"), ("audit_months.dropped", "2015_06")]


@pytest.mark.parametrize(("scope", "subject"), [("audit_month", "2015_06"), ("user", str(SYSTEM_USER_ID))])
def test_a_held_month_is_neither_detached_nor_dropped(trail: Maintained, scope: str, subject: str) -> None:
    old_month(trail.owner, user_id=SYSTEM_USER_ID)
    held = {"scope_type": scope, "scope_id": subject, "reason": "a suit", "placed_by": SYSTEM_USER_ID}
    release = "UPDATE legal_holds SET released_at = now(), released_by = placed_by"
    insert(trail.owner, "legal_holds", **held)
    assert counts(trail.run(), "months over") == {"held": 1}
    assert list(places(trail.owner)) == [OLD]
    trail.owner.execute(release)
    assert counts(trail.run(), "months over") == {"detached": 1}
    insert(trail.owner, "legal_holds", **held)
    for _ in range(3):
        a_night_later(trail.owner)
        assert counts(trail.run(), "months over") == {"held": 1}
    assert only(trail.owner, "SELECT count(*) FROM audit_logs_2015_06") == 1


def test_a_month_is_detached_while_rows_are_added(trail: Maintained) -> None:
    """An insert that is under way holds the parent: detaching gives up at once, and comes again."""
    old_month(trail.owner)
    with psycopg.connect(trail.urls.app_url) as adding:
        add(adding, f"{today(trail.owner)} 00:00:00+00")
        run = in_thread(trail.run)
        until(lambda: only(trail.owner, "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'"))
        adding.commit()
        assert counts(run(), "months over") == {"detached": 1}
    assert len(places(trail.owner)) == 1


def test_no_policy_makes_the_trail_shorter_than_a_year(trail: Maintained) -> None:
    month = today(trail.owner).replace(day=1) - timedelta(days=200)
    name = only(trail.owner, "SELECT create_monthly_audit_partition(%s)", month)
    trail.owner.execute(
        "UPDATE data_retention_policies SET retention_days = 1, mask_after_days = NULL WHERE table_name = 'audit_logs'"
    )
    assert counts(trail.run(), "months over") == {}
    with trail.connect() as application:
        assert only(application, "SELECT retire_audit_month(%s)", month) == "kept"
    assert name in partitions(trail.owner)


def test_a_policy_that_is_switched_off_keeps_every_month(trail: Maintained) -> None:
    old_month(trail.owner)
    trail.owner.execute("UPDATE data_retention_policies SET enabled = false WHERE table_name = 'audit_logs'")
    assert counts(trail.run(), "months over") == {}
    with trail.connect() as application:
        assert only(application, "SELECT retire_audit_month('2015-06-01')") == "kept"


def test_rows_of_a_month_that_was_detached_stay_where_they_are_and_are_told_of(trail: Maintained) -> None:
    old_month(trail.owner)
    trail.run()
    add(trail.owner, OLD)
    trail.run()
    asked = only(trail.owner, "SELECT id FROM job WHERE kind = 'partitions.repair'")
    trail.engine.begin(repair, [asked])
    trail.engine.drain()
    assert job(trail.db, asked)["error_code"] == "month_was_retired"
    assert places(trail.owner) == {OLD: "audit_logs_default"}


def test_the_application_cannot_change_a_detached_month(trail: Maintained) -> None:
    old_month(trail.owner)
    trail.run()
    migrate(trail.urls)
    with trail.connect() as application:
        for statement in ("UPDATE audit_logs_2015_06 SET action = 'x'", "DELETE FROM audit_logs_2015_06"):
            with pytest.raises(errors.InsufficientPrivilege):
                application.execute(statement)
