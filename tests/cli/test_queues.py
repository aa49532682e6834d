"""`worker queues`: how queues stand, and pausing and resuming them by hand."""

import getpass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.cli.here import run_here
from tests.cli.operator import Worker, insert, read, refused, said
from tests.conftest import environment_of
from worker.database import Database
from worker.settings import Settings

NOW = datetime.now(UTC)


@pytest.fixture
def queues(settings: Settings, tmp_path: Path) -> Worker:
    return partial(run_here, "queues", cwd=tmp_path, environment=environment_of(settings, tmp_path))


def test_the_status_counts_what_waits_runs_and_is_held_and_who_listens(queues: Worker, db: Database) -> None:
    insert(db, 2, run_at=NOW - timedelta(minutes=10))
    insert(db, 3, run_at=NOW + timedelta(hours=1))
    insert(db, 4, tenant="t1", run_at=NOW - timedelta(days=1))
    insert(db, 1, state="running", lease_until=NOW)
    insert(db, 9, state="done", finished_at=NOW)
    with db.transaction() as connection:
        connection.execute(
            text(
                "INSERT INTO worker_process (owner, queues, hostname, pid, in_flight, calls_in_flight)"
                " VALUES ('a', '{verification}', 'h', 1, 1, 8), ('b', '{verification,maintenance}', 'h', 2, 0, 8)"
            )
        )
    said(queues("pause", "--tenant", "t1", "--reason", "too many"))
    status = read(queues("status", "--json"))
    by_name = {queue.pop("queue"): queue for queue in status["queues"]}
    oldest = by_name["verification"].pop("oldest_due")
    assert 600 <= oldest < 3600, "the ten minutes of the oldest that is not held back"
    assert by_name == {
        "verification": {
            "ready": 9, "due": 6, "held": 4, "running": 1, "workers": 2, "in_flight": 1, "calls_in_flight": 16,
        },
        "rating": {
            "ready": 0, "due": 0, "held": 0, "running": 0, "oldest_due": None, "workers": 0, "in_flight": 0,
            "calls_in_flight": 0,
        },
        "maintenance": {
            "ready": 0, "due": 0, "held": 0, "running": 0, "oldest_due": None, "workers": 1, "in_flight": 0,
            "calls_in_flight": 8,
        },
    }  # fmt: skip
    (pause,) = status["pauses"]
    assert (pause["scope"]["tenant"], pause["reason"], pause["paused_by"]) == ("t1", "too many", getpass.getuser())
    printed = said(queues("status"))
    for word in ("verification", "maintenance", "1/16", "tenant t1", "too many"):
        assert word in printed


def test_a_queue_nobody_listens_to_says_so(queues: Worker, db: Database) -> None:
    assert "nobody listens" in said(queues("status"))


def test_pausing_says_how_many_jobs_it_holds_back_and_resuming_ends_it(queues: Worker, db: Database) -> None:
    insert(db, 3, resource="DCS")
    scope = ("--queue", "verification", "--resource", "DCS")
    paused = said(queues("pause", *scope, "--reason", "maintenance window", "--until", "30m", "--by", "olga"))
    assert paused.startswith("Paused queue verification, resource DCS until ")
    assert paused.endswith(" UTC: 3 jobs wait there now.\n")
    (pause,) = read(queues("status", "--json"))["pauses"]
    lasts = datetime.fromisoformat(pause["until"]) - datetime.fromisoformat(pause["paused_at"])
    assert lasts == timedelta(minutes=30)
    assert said(queues("resume", *scope)) == "Resumed queue verification, resource DCS.\n"
    assert read(queues("status", "--json"))["pauses"] == []


def test_a_reason_cannot_move_the_cursor_or_style_the_table(queues: Worker, db: Database) -> None:
    said(queues("pause", "--tenant", "t1", "--reason", "[red]down\x1b[2J"))
    printed = said(queues("status"))
    assert "[red]down [2J" in printed
    assert "\x1b" not in printed


def test_what_cannot_be_done_is_said_in_a_sentence(queues: Worker, db: Database) -> None:
    why = ("--reason", "because")
    assert "name what is meant" in refused(queues("pause", *why))
    assert "there is no queue verifcation" in refused(queues("pause", "--queue", "verifcation", *why))
    assert "--reason" in refused(queues("pause", "--queue", "verification"))
    assert "say why" in refused(queues("pause", "--queue", "verification", "--reason", " "))
    assert "'soon' is not a length" in refused(queues("pause", "--tenant", "t1", *why, "--until", "soon"))
    assert "there is no pause of tenant t1; nothing is paused" in refused(queues("resume", "--tenant", "t1"))
    assert read(queues("status", "--json"))["pauses"] == []
