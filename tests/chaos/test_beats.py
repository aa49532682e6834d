"""Real beats, alone and in workers, are killed and lose Redis and PostgreSQL; every slot gets its job once."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from tests.chaos.workers import CHECKOUT, celery_worker
from tests.conftest import DatabaseUrls, environment_of
from tests.waiting import until
from worker.database import Database
from worker.dev.embedded import EmbeddedServers
from worker.settings import Settings

ENTRIES, SLOTS = 12, 20

pytestmark = [pytest.mark.kills, pytest.mark.timeout(180)]


@contextmanager
def beats(settings: Settings, home: Path, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Beats in one empty directory; killed at the end."""
    home.mkdir()
    command = (sys.executable, "-m", "celery", "-A", "tests.chaos.clock_app", "beat")
    environment = {
        **environment_of(settings, home),
        "PYTHONPATH": str(CHECKOUT),
        "CLOCK_ENTRIES": str(ENTRIES),
        "CLOCK_SLOTS": str(SLOTS),
    }
    with (home.parent / "beats.log").open("ab") as log:
        started = [subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=log) for _ in range(count)]
    try:
        yield started
    finally:
        for beat in started:
            beat.kill()
            beat.wait()


def seen(db: Database) -> int:
    with db.transaction() as connection:
        return int(connection.execute(text("SELECT count(*) FROM schedule_entry")).scalar_one())


def jobs(db: Database) -> int:
    with db.transaction() as connection:
        return int(connection.execute(text("SELECT count(*) FROM job")).scalar_one())


def let_pass(db: Database, minutes: int) -> None:
    """Time in which no beat has run."""
    with db.transaction() as connection:
        connection.execute(
            text("UPDATE schedule_entry SET decided_until = date_trunc('minute', now()) - make_interval(mins => :n)"),
            {"n": minutes},
        )


def doubled_or_lost(db: Database) -> list[tuple[str, int]]:
    """Entries whose jobs aren't those of every minute from their first to their last."""
    with db.transaction() as connection:
        rows = connection.execute(
            text(
                """
                SELECT entry, count(*) FROM job GROUP BY entry
                HAVING count(*) <> count(DISTINCT scheduled_for)
                    OR max(scheduled_for) - min(scheduled_for) <> make_interval(mins => count(*)::int - 1)
                """
            )
        )
        return [(row[0], row[1]) for row in rows]


@contextmanager
def away(servers: EmbeddedServers, database: DatabaseUrls) -> Iterator[None]:
    """The database lets nobody in."""
    with psycopg.connect(servers.admin_database_url, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS false".encode())
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database.name])
        yield
        admin.execute(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS true".encode())


def test_two_of_three_beats_are_killed_while_they_decide_and_every_slot_has_one_job(
    settings: Settings, database: DatabaseUrls, db: Database, tmp_path: Path
) -> None:
    with beats(settings, tmp_path / "a", 1):
        until(lambda: seen(db) == ENTRIES, 60)
    assert list((tmp_path / "a").iterdir()) == [], "there is no state file"
    with psycopg.connect(database.owner_url) as owner:
        owner.execute(
            "CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN PERFORM pg_sleep(0.02); RETURN NEW; END'"
        )
        owner.execute("CREATE TRIGGER slowly BEFORE INSERT ON job FOR EACH ROW EXECUTE FUNCTION slowly()")
    let_pass(db, SLOTS - 2)
    with beats(settings, tmp_path / "b", 3) as (first, second, _):
        until(lambda: jobs(db) > 0, 60)
        first.kill()
        already = jobs(db)
        until(lambda: jobs(db) > already, 60)
        second.kill()
        assert jobs(db) < ENTRIES * (SLOTS - 2), "both were killed before all was decided"
        until(lambda: jobs(db) >= ENTRIES * (SLOTS - 2), 60)
        # What comes after the outage is decided by the one that is left.
        with db.transaction() as connection:
            connection.execute(text("DELETE FROM job WHERE scheduled_for > now() - interval '90 s'"))
            connection.execute(text("UPDATE schedule_entry SET decided_until = decided_until - interval '2 min'"))
        until(lambda: jobs(db) >= ENTRIES * (SLOTS - 2), 60)
    assert doubled_or_lost(db) == []


def test_workers_have_beats_of_their_own_and_the_clock_goes_on_when_one_is_killed(
    settings: Settings, db: Database, tmp_path: Path
) -> None:
    variables = {"WORKER_BEAT": "true", "CLOCK_ENTRIES": str(ENTRIES), "CLOCK_SLOTS": str(SLOTS)}
    worker = partial(celery_worker, settings, app="tests.chaos.clock_app", variables=variables)
    with worker(tmp_path / "a") as first, worker(tmp_path / "b") as second:
        until(lambda: seen(db) == ENTRIES, 60)
        let_pass(db, SLOTS - 2)
        until(lambda: jobs(db) >= ENTRIES * (SLOTS - 2), 60)
        first.kill()
        with db.transaction() as connection:
            connection.execute(text("DELETE FROM job WHERE scheduled_for > now() - interval '90 s'"))
            connection.execute(text("UPDATE schedule_entry SET decided_until = decided_until - interval '2 min'"))
        until(lambda: jobs(db) >= ENTRIES * (SLOTS - 2), 60)
        assert second.poll() is None
    assert doubled_or_lost(db) == []


@pytest.mark.parametrize(
    ("slots", "every_s", "said"),
    [("0", "1", "entry-0: it can make up for 1 to"), ("1", "0", "dispatcher: it can't come every 0.0 s")],
)
def test_a_worker_whose_clock_cannot_run_does_not_start_and_names_the_entry(
    settings: Settings, tmp_path: Path, slots: str, every_s: str, said: str
) -> None:
    variables = {"WORKER_BEAT": "true", "CLOCK_ENTRIES": "1", "CLOCK_SLOTS": slots, "ROUNDS_EVERY_S": every_s}
    with celery_worker(settings, tmp_path, app="tests.chaos.clock_app", variables=variables) as worker:
        assert worker.wait(60) != 0
    assert said in (tmp_path / "worker.log").read_text()


def test_a_beat_goes_on_by_itself_after_redis_and_after_postgresql_were_away(
    settings: Settings, servers: EmbeddedServers, database: DatabaseUrls, db: Database, tmp_path: Path
) -> None:
    servers.kill_redis()
    with beats(settings, tmp_path / "a", 1) as (beat,):
        until(lambda: seen(db) == ENTRIES, 60)
        let_pass(db, 3)
        until(lambda: jobs(db) >= ENTRIES * 3, 60)
        servers.start_redis()
        servers.restart_postgres()
        db.close()
        with away(servers, database):
            until(lambda: b"clock.database_away" in (tmp_path / "beats.log").read_bytes(), 60)
        before = jobs(db)
        let_pass(db, 10)
        until(lambda: jobs(db) >= before + ENTRIES * 6, 60)
        assert beat.poll() is None
    assert doubled_or_lost(db) == []
