"""Beat on a real database: every slot once, however many beats tick, and missed ones by policy."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from celery import Celery
from sqlalchemy import text

from tests.conftest import environment_of
from worker.database import Database
from worker.settings import Settings, load_settings


@pytest.fixture
def environment(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> Iterator[None]:
    for name, value in environment_of(settings, tmp_path).items():  # type: ignore[arg-type]  # pytest's path is one
        monkeypatch.setenv(name, value)
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


def scheduled(db: Database) -> list[tuple[str, datetime]]:
    with db.transaction() as connection:
        rows = connection.execute(text("SELECT kind, scheduled_for FROM job ORDER BY scheduled_for"))
        return [(row.kind, row.scheduled_for) for row in rows]


def missed_slot_job(db: Database, days_ago: int) -> None:
    """The last slot that ran, so that everything since was missed."""
    with db.transaction() as connection:
        connection.execute(
            text(
                "INSERT INTO job (kind, queue, state, finished_at, scheduled_for) VALUES ('partitions.ensure',"
                " 'maintenance', 'done', now(), date_trunc('day', now()) + interval '70 minutes' - :ago)"
            ),
            {"ago": timedelta(days=days_ago)},
        )


def test_three_beats_after_an_outage_of_ten_days_run_the_missed_slot_once(environment: None, db: Database) -> None:
    import tasks.partitions.task  # noqa: F401 - declares the kind
    from worker.scheduler import LedgerScheduler

    missed_slot_job(db, 10)
    beats = [LedgerScheduler(app=Celery()) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        waits = list(pool.map(lambda beat: beat.tick(), beats))
    for beat in beats:
        beat.close()
    (old, new) = scheduled(db)
    assert new[0] == "partitions.ensure"
    assert timedelta(0) <= datetime.now(UTC) - new[1] < timedelta(days=1)
    assert (new[1] - old[1]) % timedelta(days=1) == timedelta(0)
    assert all(0 < wait <= 300 for wait in waits)


def test_a_beat_that_starts_for_the_first_time_makes_up_no_past(environment: None, db: Database) -> None:
    import tasks.partitions.task  # noqa: F401 - declares the kind
    from worker.scheduler import LedgerScheduler

    beat = LedgerScheduler(app=Celery())
    beat.tick()
    beat.close()
    assert scheduled(db) == []
