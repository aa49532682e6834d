"""Real processes of the rating worker: what kills, cancels or restarts them in the middle loses and repeats nothing."""

import os
import signal
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from tests.chaos.workers import celery_worker
from tests.tasks.rating.saved import add_quotes, jobs, quote_of, written
from tests.waiting import until
from worker.database import Database
from worker.enqueue import enqueue_recalculations
from worker.operating.control import cancel, retry
from worker.settings import Settings

pytestmark = [pytest.mark.kills, pytest.mark.timeout(180)]

QUOTES = 5_000
MANY, RANGE = "rating.recalculate_many", "rating.recalculate_range"
FEW_AT_A_TIME = {"WORKER_LEASE_S": "4", "WORKER_RENEW_EVERY_S": "1", "WORKER_CALLS_IN_FLIGHT": "1"}
POOL = ("-P", "prefork", "-c", "1")


def done(sql: psycopg.Connection) -> int:
    return sum(job["state"] == "done" for job in jobs(sql, RANGE))


def test_a_kill_a_cancel_and_a_retry_in_the_middle_lose_and_repeat_nothing(
    settings: Settings, db: Database, filed: psycopg.Connection, writes: psycopg.Connection, tmp_path: Path
) -> None:
    ids = add_quotes(filed, QUOTES)
    with celery_worker(settings, tmp_path, variables=FEW_AT_A_TIME, queue="rating", pool=POOL):
        with db.transaction() as connection:
            job_id = enqueue_recalculations(connection, state="TX").job_id
        until(lambda: done(filed) >= 2, 60)
        [(process,)] = filed.execute("SELECT pid FROM worker_process").fetchall()
        os.kill(process, signal.SIGKILL)
        with db.transaction() as connection:
            cancel(connection, job_id, "test")
        until(lambda: jobs(filed, MANY)[0]["state"] == "cancelled", 60)
        until(lambda: {job["state"] for job in jobs(filed, RANGE)} == {"done", "cancelled"}, 60)
        assert 0 < len(written(writes)) < QUOTES
        with db.transaction() as connection:
            retry(connection, job_id, "test")
        until(lambda: jobs(filed, MANY)[0]["state"] not in ("ready", "running"), 90)
    assert jobs(filed, MANY)[0]["state"] == "done"
    assert written(writes) == dict.fromkeys(ids, 1)
    assert quote_of(filed, ids[-1])["premium"] == Decimal("269.51")
