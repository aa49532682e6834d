"""A deaf worker is found out, and none that is well."""

import threading
import time
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from sqlalchemy import text

from tests.conftest import DatabaseUrls, settings_for
from tests.worker.kinds import TEST_KIND
from worker.database import Database
from worker.hints import Hints
from worker.pauses import Scope, pause
from worker.process.engine import Engine
from worker.process.progress import Progress
from worker.settings import Settings

STUCK_AFTER_S = 45.0
QUEUE = TEST_KIND.queue

Look = Callable[[Progress], str | None]


@pytest.fixture
def hints(settings: Settings) -> Iterator[Hints]:
    hints = Hints(settings.celery_broker_url)
    yield hints
    hints.close()


@pytest.fixture
def progress(db: Database, hints: Hints, engine: Engine) -> Progress:
    return progress_of(db, hints, engine)


def progress_of(db: Database, hints: Hints, engine: Engine) -> Progress:
    return Progress(db, hints, engine, queues=[QUEUE], kinds=[TEST_KIND.name], stuck_after_s=STUCK_AFTER_S)


def wait(db: Database, *, kind: str = TEST_KIND.name, run_at: str = "now() - interval '1 minute'") -> None:
    """A job that waits, due for a minute."""
    with db.transaction() as connection:
        connection.execute(
            text(f"INSERT INTO job (kind, queue, run_at) VALUES (:kind, :queue, {run_at})"),  # noqa: S608 - a test's own
            {"kind": kind, "queue": QUEUE},
        )


def after_a_minute(progress: Progress) -> str | None:
    """What it complains of after looks that lie ten seconds apart each."""
    now = time.monotonic()
    for seconds in range(0, 70, 10):
        progress.look(now + seconds)
    return progress.complaint


def test_a_worker_with_room_that_hears_of_no_job_while_one_is_due_is_stuck(db: Database, progress: Progress) -> None:
    wait(db)
    complaint = after_a_minute(progress)
    assert complaint is not None
    assert "no hint has arrived for 60 s" in complaint


def test_the_first_hint_makes_it_well(db: Database, progress: Progress, engine: Engine) -> None:
    wait(db)
    assert after_a_minute(progress)
    engine.heard_at = time.monotonic() + 61
    progress.look(time.monotonic() + 62)
    assert progress.complaint is None


def test_a_hint_is_heard_also_where_nothing_was_left_to_claim(engine: Engine) -> None:
    before = engine.heard_at
    engine.begin(TEST_KIND, [uuid4()])
    assert engine.heard_at > before


@pytest.mark.parametrize(
    "job",
    [{"run_at": "now() + interval '1 hour'"}, {"run_at": "now()"}, {"kind": "kind.of_a_newer_release"}],
    ids=["future", "young", "unknown"],
)
def test_jobs_that_are_not_for_it_to_take_are_no_fault(job: dict[str, str], db: Database, progress: Progress) -> None:
    wait(db, **job)
    assert after_a_minute(progress) is None


def test_an_empty_queue_is_no_fault(progress: Progress) -> None:
    assert after_a_minute(progress) is None


def test_a_pause_is_no_fault(db: Database, progress: Progress) -> None:
    wait(db)
    with db.transaction() as connection:
        pause(connection, Scope(queue=QUEUE), "somebody", "a test")
    assert after_a_minute(progress) is None


def test_a_job_that_somebody_has_locked_is_no_fault(db: Database, progress: Progress) -> None:
    wait(db)
    with db.transaction() as connection:
        connection.execute(text("SELECT FROM job FOR UPDATE"))
        assert after_a_minute(progress) is None


def test_a_full_worker_is_no_fault(db: Database, progress: Progress, engine: Engine) -> None:
    wait(db)
    engine.room._free = -engine.room.lookahead
    assert after_a_minute(progress) is None


def test_a_worker_that_ends_is_no_fault(db: Database, progress: Progress, engine: Engine) -> None:
    wait(db)
    engine.stop()
    assert after_a_minute(progress) is None


def test_a_job_that_keeps_the_loop_busy_within_its_time_is_no_fault(
    db: Database, progress: Progress, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.process.engine._ANSWERS_WITHIN_S", 0.01)
    wait(db)

    class Calculation:
        over_by = time.monotonic() + 1000

    is_over = threading.Event()
    engine._loop.call_soon_threadsafe(is_over.wait)
    engine._runs[uuid4()] = Calculation()  # type: ignore[assignment]  # all that is asked of a run here
    try:
        assert after_a_minute(progress) is None
        Calculation.over_by = time.monotonic()
        progress.look(time.monotonic() + 1000)
        assert progress.complaint, "a job that holds up the loop beyond its deadline is a fault"
    finally:
        engine._runs.clear()
        is_over.set()


def test_a_database_that_is_away_is_no_fault(
    database: DatabaseUrls, redis_url: str, hints: Hints, engine: Engine
) -> None:
    away = Database(settings_for(database, redis_url, DATABASE_URL="postgresql://app:x@127.0.0.1:1/none"))
    assert after_a_minute(progress_of(away, hints, engine)) is None
    away.close()


def test_a_broker_that_is_away_is_no_fault(db: Database, engine: Engine) -> None:
    wait(db)
    away = Hints("redis://127.0.0.1:1/0")
    assert after_a_minute(progress_of(db, away, engine)) is None
    away.close()
