"""`worker jobs`: what it prints, what it does, and under which name."""

import getpass
import subprocess
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text

from tests.cli.here import run_here
from tests.cli.operator import Worker, insert, read, refused, said
from tests.cli.processes import COMMAND
from tests.conftest import environment_of
from worker.crypto import Keyring
from worker.database import Database
from worker.dev.demo.households import add_drivers
from worker.dev.demo.sample import INTEGRATION, configure_sandbox
from worker.dev.sandbox.personas import BY_LICENSE
from worker.enqueue import enqueue_verification
from worker.settings import Settings

VERA = BY_LICENSE["TX00000001"]
NOW = datetime.now(UTC)


@pytest.fixture
def jobs(settings: Settings, tmp_path: Path) -> Worker:
    environment = environment_of(settings, tmp_path) | {"COLUMNS": "100"}
    return partial(run_here, "jobs", cwd=tmp_path, environment=environment)


def state(db: Database, job_id: str) -> str:
    with db.transaction() as connection:
        return str(connection.execute(text("SELECT state FROM job WHERE id = :id"), {"id": job_id}).scalar_one())


def names(db: Database) -> list[tuple[str, str]]:
    with db.transaction() as connection:
        return [tuple(row) for row in connection.execute(text('SELECT event, "by" FROM job_event ORDER BY id'))]


def test_a_list_is_narrowed_by_each_option(jobs: Worker, db: Database) -> None:
    (waiting,) = insert(db, tenant="t1", resource="DCS")
    (failed,) = insert(db, tenant="t2", state="failed", finished_at=NOW, error_code="refused")
    (old,) = insert(db, tenant="t2", created_at=NOW - timedelta(days=2))

    def listed(*options: str) -> set[str]:
        return {job["id"] for job in read(jobs("list", "--json", *options))}

    assert listed() == {waiting, failed, old}
    assert listed("--state", "failed") == {failed}
    assert listed("--tenant", "t1") == listed("--resource", "DCS") == {waiting}
    assert listed("--kind", "test.run", "--error", "refused") == {failed}
    assert listed("--since", "1d", "--tenant", "t2") == {failed}
    assert len(listed("--limit", "2")) == 2


def test_a_list_for_people_keeps_ids_whole(jobs: Worker, db: Database) -> None:
    (failed,) = insert(db, state="failed", finished_at=NOW, error_code="refused")
    printed = said(jobs("list"))
    (line,) = (line for line in printed.splitlines() if failed in line)
    assert "refused" in line
    assert "test.run" in line


def verification(settings: Settings, db: Database) -> tuple[str, int]:
    keyring = Keyring.of(settings)
    with db.transaction() as connection:
        configure_sandbox(connection, keyring, "http://127.0.0.1:1", attempts=2)
        (driver,) = add_drivers(connection, keyring, [VERA])
        asked = enqueue_verification(connection, integration=INTEGRATION, driver_id=driver)
    return str(asked.job_id), asked.request_id


def test_one_job_is_shown_with_its_history_and_its_request_and_names_no_person(
    jobs: Worker, settings: Settings, db: Database
) -> None:
    job_id, request_id = verification(settings, db)
    said(jobs("cancel", job_id, "--by", "olga"))
    shown = read(jobs("show", job_id, "--json"))
    assert shown["job"]["id"] == job_id
    assert [(event["event"], event["by"]) for event in shown["events"]] == [
        ("asked_for", None),
        ("cancel_requested", "olga"),
    ]
    assert (shown["request"]["id"], shown["request"]["request_status"]) == (request_id, "pending")
    printed = said(jobs("show", job_id))
    for word in (job_id, "cancel_requested", "olga", "request_status"):
        assert word in printed
    for word in (VERA.first_name, VERA.last_name, VERA.license_number or "", VERA.date_of_birth):
        assert word not in printed


def test_why_says_a_sentence_and_programs_get_the_code(jobs: Worker, db: Database) -> None:
    (job_id,) = insert(db)
    assert "No worker listens to its queue, verification" in said(jobs("why", job_id))
    answer = read(jobs("why", job_id, "--json"))
    assert (answer["code"], answer["facts"]["workers"]) == ("no_worker", 0)


def test_cancel_and_retry_are_done_under_the_name_of_whoever_asks(jobs: Worker, db: Database) -> None:
    (waiting,) = insert(db)
    (failed,) = insert(db, state="failed", finished_at=NOW)
    assert "it was ready" in said(jobs("cancel", waiting))
    assert "starts anew" in said(jobs("retry", failed, "--by", "olga"))
    assert state(db, failed) == "ready"
    assert names(db) == [("cancel_requested", getpass.getuser()), ("retried_by_hand", "olga")]


def test_a_replay_is_looked_at_first_and_done_with_yes(jobs: Worker, settings: Settings, db: Database) -> None:
    job_id, _ = verification(settings, db)
    insert(db, 2, state="failed", finished_at=NOW, error_code="refused")
    with db.transaction() as connection:
        connection.execute(
            text("UPDATE job SET state = 'failed', finished_at = now(), error_code = 'refused' WHERE id = :id"),
            {"id": job_id},
        )
    promised = said(jobs("replay", "--error", "refused", "--dry-run"))
    assert promised == "3 of 3 failed jobs would start anew, at the cost of 3 provider calls at most.\n"
    assert state(db, job_id) == "failed"
    done = read(jobs("replay", "--error", "refused", "--yes", "--by", "olga", "--json"))
    assert done == {"dry_run": False, "matching": 3, "jobs": 3, "calls_at_most": 3, "cost_at_most": "0"}
    assert state(db, job_id) == "ready"
    assert names(db) == [("retried_by_hand", "olga")] * 3


def test_what_cannot_be_done_is_said_in_a_sentence(jobs: Worker, db: Database) -> None:
    unknown = str(uuid4())
    (done,) = insert(db, state="done", finished_at=NOW)
    asked: list[tuple[subprocess.CompletedProcess[str], str]] = [
        (jobs("why", unknown), f"there is no job {unknown}"),
        (jobs("show", unknown), f"there is no job {unknown}"),
        (jobs("cancel", unknown), f"there is no job {unknown}"),
        (jobs("retry", unknown), f"there is no job {unknown}"),
        (jobs("cancel", done), "is over already: it is done"),
        (jobs("retry", done), "is done: there is nothing to retry"),
        (jobs("retry", done, "--by", " "), "--by must not be empty"),
        (jobs("list", "--state", "lost"), "there is no state lost"),
        (jobs("list", "--since", "yesterday"), "'yesterday' is not a length of time"),
        (jobs("list", "--limit", "0"), "the limit must lie between"),
        (jobs("replay", "--dry-run"), "say which failed jobs"),
        (jobs("replay", "--kind", "x", "--dry-run", "--yes"), "either --dry-run or --yes"),
        (jobs("why", "42"), "valid UUID"),
    ]
    for answer, sentence in asked:
        assert sentence in refused(answer)
    assert names(db) == []


def test_a_replay_that_nobody_can_confirm_is_refused(jobs: Worker, db: Database) -> None:
    (failed,) = insert(db, state="failed", finished_at=NOW)
    assert "--dry-run to look, or --yes" in refused(jobs("replay", "--kind", "test.run"))
    assert state(db, failed) == "failed"


@pytest.mark.parametrize(("typed", "status", "end"), [("n", 1, "failed"), ("y", 0, "ready")])
def test_a_person_sees_the_numbers_and_decides(
    settings: Settings, db: Database, tmp_path: Path, typed: str, status: int, end: str
) -> None:
    (failed,) = insert(db, state="failed", finished_at=NOW)
    answer = subprocess.run(
        [*COMMAND, "jobs", "replay", "--kind", "test.run"],
        cwd=tmp_path,
        env=environment_of(settings, tmp_path),
        input=f"{typed}\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "1 of 1 failed jobs would start anew, at the cost of 0 provider calls at most." in answer.stderr
    assert answer.returncode == status
    assert state(db, failed) == end
