"""PostgreSQL is killed while a sweep runs, whose batches do not wait for the disk: what it took back is done again."""

import os
from collections.abc import Callable
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path

import psycopg
import pytest

from tasks.retention import store
from tests.conftest import database_from, migrate, settings_for
from tests.migrations.rows import only
from tests.tasks.retention.test_statements import fill
from worker.database import DATABASE_ERRORS, Database
from worker.dev.embedded import EmbeddedServers
from worker.job import Job
from worker.maintenance.order import Order
from worker.maintenance.run import Run

pytestmark = [pytest.mark.kills, pytest.mark.timeout(180)]

ROWS = 1500

RUNNING = """
    INSERT INTO job (kind, queue, args, state, fence, attempt, lease_until)
    VALUES ('retention.sweep', 'maintenance', '{"confirm": true}', 'running', 1, 1, now() + interval '1 hour')
    RETURNING id
"""


def test_the_record_and_the_progress_of_a_sweep_add_up_after_a_crash_of_the_server(tmp_path: Path) -> None:
    copy = contextmanager(database_from)
    with EmbeddedServers(tmp_path / "home") as servers, copy(servers, "template0") as urls:
        migrate(urls)
        with psycopg.connect(urls.owner_url, autocommit=True) as owner:
            fill(owner, ROWS)
            owner.execute("UPDATE data_retention_policies SET batch_size = 50")
            job_id = only(owner, RUNNING)
        job = Job(
            job_id, "retention.sweep", {"confirm": True}, 1, 1, 0, 1,
            deadline_at=None, is_expired=False, is_cancelled=False, time_left=None,
        )  # fmt: skip
        looks = count()

        def kill_between_batches() -> bool:
            look = next(looks)
            if look == 15:
                with psycopg.connect(urls.owner_url) as other:  # waits for the disk, and takes what was before it along
                    other.execute("UPDATE data_retention_policies SET batch_size = 50")
            if look == 25:
                os.kill(servers.pids[0], 9)
            return False

        settings = settings_for(urls, servers.redis_url)
        with pytest.raises(DATABASE_ERRORS):
            sweep(Database(settings), Order(job, None), kill_between_batches)
        servers.restart_postgres()
        with psycopg.connect(urls.owner_url, autocommit=True) as owner:
            progress = only(owner, PROGRESS, job_id)
            assert 0 < only(owner, LEFT) < ROWS
            assert removed(owner) == progress["counts"]["integration_request"]
            sweep(Database(settings), Order(job, progress), lambda: False)
            assert only(owner, LEFT) == 0
            both = {"removed": ROWS, "integration_verification_result removed": ROWS}
            assert removed(owner) == only(owner, PROGRESS, job_id)["counts"]["integration_request"] == both


PROGRESS = "SELECT progress FROM job WHERE id = %s"
LEFT = "SELECT count(*) FROM integration_request"


def sweep(database: Database, order: Order, must_stop: Callable[[], bool]) -> None:
    try:
        Run(database, order, store.plan, timedelta(minutes=1), must_stop).to_its_end()
    finally:
        database.close()


def removed(owner: psycopg.Connection) -> dict[str, int]:
    query = "SELECT table_name, sum(deleted_count)::integer FROM retention_run_items GROUP BY table_name"
    rows = owner.execute(query).fetchall()
    return {"removed" if name == "integration_request" else f"{name} removed": number for name, number in rows}
