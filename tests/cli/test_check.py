"""`worker check` and `worker status` as a person or a pipeline types them."""

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from tests.cli.operator import Worker, insert, read, said
from tests.cli.processes import run_worker
from tests.conftest import environment_of
from worker.database import Database
from worker.settings import Settings


@pytest.fixture
def worker(settings: Settings, tmp_path: Path) -> Worker:
    environment = environment_of(settings, tmp_path) | {"COLUMNS": "80"}
    return partial(run_worker, cwd=tmp_path, environment=environment)


def test_what_is_wrong_is_a_line_each_and_an_exit_status(worker: Worker, settings: Settings, tmp_path: Path) -> None:
    answer = worker("check")
    assert answer.returncode == 1, "the tests' PostgreSQL runs with fsync off"
    assert answer.stderr == ""
    lines = answer.stdout.splitlines()
    assert any(line.startswith("problem postgresql_fsync: ") for line in lines)
    assert {line.split()[0] for line in lines} <= {"problem", "warning"}
    assert "policy_missing" not in answer.stdout
    environment = environment_of(settings, tmp_path) | {"WORKER_LEASE_S": "1", "ENCRYPTION_KEYS": ""}
    wrong = run_worker("check", "--json", cwd=tmp_path, environment=environment)
    (finding,) = json.loads(wrong.stdout)
    assert (wrong.returncode, finding["code"]) == (1, "settings_wrong")
    assert "WORKER_RENEW_EVERY_S" in finding["what"]


def test_the_status_is_a_screen_or_json(worker: Worker, db: Database) -> None:
    insert(db, state="failed", error_code="worker_died", finished_at=datetime.now(UTC) - timedelta(days=2))
    told = read(worker("status", "--json"))
    assert [alarm["name"] for alarm in told["alarms"]] == ["WorkerJobsQuarantined"]
    assert {entry["name"] for entry in told["status"]["schedule"]} > {"masking.sweep", "keys.rotate"}
    printed = said(worker("status"))
    assert max(map(len, printed.splitlines())) <= 80
    for word in ("WorkerJobsQuarantined", "verification", "nobody", "masking.sweep", "DCS_CRIMINAL"):
        assert word in printed
