"""`worker run`: maintenance in the foreground, by people: what it prints, what it refuses, and what a kill leaves."""

import signal
from functools import partial
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from tasks.retention.task import sweep
from tests.cli.operator import Worker, read, refused, said
from tests.cli.processes import run_worker, start_worker
from tests.conftest import DatabaseUrls, environment_of
from tests.migrations.rows import only
from tests.tasks.maintaining import maintained
from tests.tasks.retention.test_sweep import requests
from tests.waiting import until
from tests.worker.asking import job
from worker import ledger
from worker.database import Database
from worker.settings import Settings


@pytest.fixture
def run(settings: Settings, tmp_path: Path) -> Worker:
    return partial(run_worker, "run", cwd=tmp_path, environment=environment_of(settings, tmp_path))


def test_a_dry_run_tells_the_numbers_and_changes_nothing(run: Worker, database: DatabaseUrls) -> None:
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        requests(owner, 3)
        answer = run("retention", "--dry-run", "--by", "olga")
        assert answer.returncode == 0
        assert ["integration_request", "removed", "3"] in [line.split() for line in answer.stdout.splitlines()]
        assert "Nothing was changed: this was a dry run." in answer.stdout
        assert answer.stderr.strip().endswith("integration_request: a row has been overdue for 45 days.")
        assert only(owner, "SELECT count(*) FROM integration_request") == 3
        told = owner.execute("SELECT details ->> 'by', details ->> 'kind' FROM audit_logs WHERE action LIKE 'main%'")
        assert told.fetchall() == [("olga", "retention.sweep")]


def test_json_is_for_programs(run: Worker) -> None:
    done = read(run("partitions", "--json"))
    assert (done["state"], done["counts"], done["is_dry_run"]) == ("done", {"months ahead": {"there": 4}}, False)


def test_a_kind_of_a_folder_with_several_is_named_in_full(run: Worker) -> None:
    assert "is done." in said(run("partitions.repair"))


def test_what_is_no_maintenance_is_refused_and_told_what_is(run: Worker) -> None:
    for name in ("verification", "nonsense"):
        told = refused(run(name))
        assert f"there is no maintenance called {name}; there is keys.rotate, masking.completed," in told


def test_a_run_that_was_killed_in_the_middle_and_run_again_adds_up(
    settings: Settings, db: Database, database: DatabaseUrls, run: Worker, tmp_path: Path
) -> None:
    with maintained(settings, db, database, sweep) as platform:
        ids = requests(platform.owner, 6)
        platform.owner.execute("UPDATE data_retention_policies SET batch_size = 2")
        with db.engine.connect() as reader:
            locked = text("SELECT FROM integration_verification_result WHERE request_id = :id FOR UPDATE")
            reader.execute(locked, {"id": ids[4]})  # the third batch waits here
            killed = start_worker("run", "retention", cwd=tmp_path, environment=environment_of(settings, tmp_path))
            until(lambda: only(platform.owner, "SELECT count(*) FROM retention_run_items") == 4, timeout_s=60)
            until(lambda: only(platform.owner, "SELECT count(*) FROM pg_locks WHERE NOT granted"))
            killed.send_signal(signal.SIGKILL)
            killed.communicate(timeout=30)
        assert only(platform.owner, "SELECT count(*) FROM integration_request") == 2
        first = only(platform.owner, "SELECT id FROM job")
        with db.transaction() as connection:
            connection.execute(text("UPDATE job SET lease_until = now() - interval '1 s'"))
        with db.transaction() as connection:
            assert ledger.rescue(connection, limit=10) == 1
        again = platform.run(first)
        assert again["progress"]["counts"]["integration_request"]["removed"] == 6
        assert job(db, first)["crashes"] == 1
        records = platform.owner.execute(
            "SELECT batch_number, deleted_count, first_id::int, last_id::int FROM retention_run_items"
            " WHERE table_name = 'integration_request' ORDER BY batch_number"
        ).fetchall()
        assert records == [(n + 1, 2, ids[2 * n], ids[2 * n + 1]) for n in range(3)]
        assert platform.owner.execute("SELECT state FROM retention_runs").fetchall() == [("finished",)]
        assert said(run("retention")).startswith("IN")
