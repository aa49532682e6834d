"""Presence: a process has a row while it works, and only then."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.chaos.workers import celery_worker
from tests.conftest import DatabaseUrls, settings_for
from tests.waiting import until
from tests.worker.asking import ask
from tests.worker.kinds import TEST_KIND
from worker.crypto import Keyring
from worker.database import Database
from worker.job import Surroundings
from worker.operating.inspection import QueueStatus, queues
from worker.process.engine import Engine
from worker.process.leases import LeaseRenewal
from worker.process.presence import AT_WORK_FOR, Presence
from worker.settings import Settings


def rows(db: Database) -> list[dict[str, Any]]:
    with db.transaction() as connection:
        return [dict(row) for row in connection.execute(text("SELECT * FROM worker_process")).mappings()]


def verification(db: Database) -> QueueStatus:
    with db.transaction() as connection:
        return next(queue for queue in queues(connection)[0] if queue.queue == "verification")


@pytest.fixture
def quick(database: DatabaseUrls, redis_url: str) -> Settings:
    return settings_for(database, redis_url, lease_s=1, renew_every_s=0.1, calls_in_flight=7)


@dataclass
class Process:
    """What shows itself: a worker process without what asks for hints."""

    engine: Engine
    presence: Presence


@contextmanager
def running(settings: Settings) -> Iterator[Process]:
    database = Database(settings)
    engine = Engine(database, Surroundings(settings, Keyring.of(settings)), on_room=lambda: None)
    presence = Presence(database, engine, ["verification", "maintenance"], calls_in_flight=settings.calls_in_flight)
    leases = LeaseRenewal(settings, database, engine, presence)
    leases.start()
    try:
        yield Process(engine, presence)
    finally:
        engine.close()
        leases.close()
        database.close()


def test_a_process_shows_itself_from_its_start_to_its_end(quick: Settings, db: Database) -> None:
    with running(quick) as process:
        (row,) = until(lambda: rows(db))
        assert (row["owner"], row["hostname"], row["pid"]) == (process.engine.owner, socket.gethostname(), os.getpid())
        assert (row["queues"], row["in_flight"], row["calls_in_flight"]) == (["verification", "maintenance"], 0, 7)
        until(lambda: rows(db)[0]["seen_at"] > row["seen_at"])
        assert rows(db)[0]["started_at"] == row["started_at"]
    assert rows(db) == []


@pytest.mark.usefixtures("left_behind")
def test_it_tells_how_much_it_has_in_hand(quick: Settings, db: Database) -> None:
    ids = ask(db, 3, s=0.5)
    with running(quick) as process:
        process.engine.begin(TEST_KIND, ids)
        until(lambda: [row["in_flight"] for row in rows(db)] == [3])
        status = verification(db)
        assert (status.workers, status.in_flight, status.calls_in_flight, status.running) == (1, 3, 7, 3)
        until(lambda: [row["in_flight"] for row in rows(db)] == [0])


def test_a_process_that_ends_listens_to_nothing_any_more(quick: Settings, db: Database) -> None:
    with running(quick) as process:
        until(lambda: verification(db).workers == 1)
        process.presence.end()
        until(lambda: [row["queues"] for row in rows(db)] == [[]])
        assert verification(db).workers == 0


def test_one_that_was_not_seen_for_a_while_is_not_counted_and_after_an_hour_forgotten(
    quick: Settings, db: Database
) -> None:
    dead = text(
        "INSERT INTO worker_process (owner, queues, hostname, pid, in_flight, calls_in_flight, seen_at)"
        " VALUES (:owner, '{verification}', 'h', 1, 0, 9, now() - :ago)"
    )
    with db.transaction() as connection:
        connection.execute(dead, {"owner": "lately", "ago": AT_WORK_FOR + timedelta(seconds=1)})
        connection.execute(dead, {"owner": "long ago", "ago": timedelta(hours=1, seconds=1)})
    assert verification(db).workers == 0
    with running(quick) as process:
        until(lambda: {row["owner"] for row in rows(db)} == {process.engine.owner, "lately"})
        assert verification(db).workers == 1


@pytest.mark.kills
def test_a_real_worker_is_seen_and_leaves_nothing_when_told_to_end(
    settings: Settings, db: Database, tmp_path: Path
) -> None:
    with celery_worker(settings, tmp_path) as process:
        (row,) = until(lambda: rows(db), 30)
        assert (row["pid"], row["queues"]) == (process.pid, ["verification"])
        process.terminate()
        assert process.wait(30) == 0
    assert rows(db) == []
