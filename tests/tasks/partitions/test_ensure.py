"""The partitions job on a real database, run by the engine: it makes what is missing and leaves what is there."""

from collections.abc import Iterator
from datetime import date

import psycopg
import pytest

from tasks.partitions.months import months_to_ensure
from tasks.partitions.task import ensure
from tests.conftest import DatabaseUrls
from tests.worker.asking import job
from worker.crypto import Keyring
from worker.database import Database
from worker.engine import Engine
from worker.enqueue import enqueue
from worker.job import Surroundings
from worker.settings import Settings

PARTITIONS = """
    SELECT c.relname, c.oid::bigint, pg_get_expr(c.relpartbound, c.oid)
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'audit_logs'::regclass ORDER BY c.relname
"""


@pytest.fixture
def owner(database: DatabaseUrls) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def engine(settings: Settings, db: Database) -> Iterator[Engine]:
    engine = Engine(db, Surroundings(settings, Keyring.of(settings)), on_room=lambda: None)
    yield engine
    engine.close()


def run(engine: Engine, db: Database, times: int = 1) -> list[str]:
    """Have the job run, `times` at once; gives the states they ended in."""
    with db.transaction() as connection:
        ids = [enqueue(connection, ensure).job_id for _ in range(times)]
    engine.begin(ensure, ids)
    engine.drain()
    return [job(db, job_id)["state"] for job_id in ids]


def partitions(owner: psycopg.Connection) -> dict[str, tuple[object, ...]]:
    return {row[0]: row[1:] for row in owner.execute(PARTITIONS)}


def needed(owner: psycopg.Connection) -> list[str]:
    row = owner.execute("SELECT (now() AT TIME ZONE 'UTC')::date").fetchone()
    assert row is not None
    today: date = row[0]
    return [f"audit_logs_{month:%Y_%m}" for month in months_to_ensure(today)]


def test_missing_months_are_made(owner: psycopg.Connection, engine: Engine, db: Database) -> None:
    this_month, *later = names = needed(owner)
    for name in later[1:]:
        owner.execute(f"DROP TABLE {name}")
    kept = partitions(owner)[this_month]
    assert run(engine, db) == ["done"]
    assert set(names) <= set(partitions(owner))
    assert partitions(owner)[this_month] == kept


def test_a_row_that_came_before_its_partition_is_moved_into_it(
    owner: psycopg.Connection, engine: Engine, db: Database
) -> None:
    last = needed(owner)[-1]
    owner.execute(f"DROP TABLE {last}")
    day = last.removeprefix("audit_logs_").replace("_", "-") + "-15 12:00:00+00"
    owner.execute("INSERT INTO audit_logs (created_at, action, resource_type) VALUES (%s, 'test', 'row')", [day])
    assert run(engine, db) == ["done"]
    rows = owner.execute("SELECT tableoid::regclass::text FROM audit_logs WHERE action = 'test'").fetchall()
    assert rows == [(last,)]


def test_a_second_run_changes_nothing(owner: psycopg.Connection, engine: Engine, db: Database) -> None:
    assert run(engine, db) == ["done"]
    before = partitions(owner)
    assert run(engine, db, times=5) == ["done"] * 5
    assert partitions(owner) == before


def test_the_application_makes_partitions_without_owning_the_table(
    owner: psycopg.Connection, engine: Engine, db: Database
) -> None:
    last = needed(owner)[-1]
    owner.execute(f"DROP TABLE {last}")
    run(engine, db)
    row = owner.execute("SELECT tableowner = current_user FROM pg_tables WHERE tablename = %s", [last]).fetchone()
    assert row == (True,)
