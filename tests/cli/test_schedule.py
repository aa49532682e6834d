"""`worker schedule`: how the clock stands, and what a person does to it."""

import getpass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from tests.cli.here import run_here
from tests.cli.operator import Worker, insert, read, refused, said
from tests.conftest import environment_of
from worker.database import Database
from worker.settings import Settings

ENTRY = "partitions.ensure"


@pytest.fixture
def schedule(settings: Settings, tmp_path: Path) -> Worker:
    return partial(run_here, "schedule", cwd=tmp_path, environment=environment_of(settings, tmp_path))


def entry(answer: Any) -> dict[str, Any]:
    (found,) = (entry for entry in answer if entry["name"] == ENTRY)
    return dict(found)


def deeds(db: Database) -> list[tuple[str, str, str]]:
    with db.transaction() as connection:
        rows = connection.execute(
            text("SELECT action, resource_id, details ->> 'by' FROM audit_logs ORDER BY created_at")
        )
        return [(row[0], row[1], row[2]) for row in rows]


def test_the_list_tells_how_the_last_run_went_and_when_the_next_one_is(schedule: Worker, db: Database) -> None:
    never = entry(read(schedule("--json")))
    assert (never["last_slot"], never["last_outcome"], never["missed_runs"]) == (None, None, 0)
    assert datetime.fromisoformat(never["next_slot"]) > datetime.now(UTC)
    slot = datetime(2026, 5, 5, 1, 10, tzinfo=UTC)
    insert(
        db,
        entry=ENTRY,
        state="failed",
        error_code="worker_died",
        scheduled_for=slot,
        started_at=slot,
        finished_at=slot.replace(minute=12),
    )
    with db.transaction() as connection:
        connection.execute(
            text(
                "INSERT INTO schedule_entry (name, decided_until, counts_since, missed) VALUES (:name, :slot, :slot, 3)"
            ),
            {"name": ENTRY, "slot": slot},
        )
    ran = entry(read(schedule("--json")))
    assert (ran["last_outcome"], ran["last_error_code"], ran["took"], ran["missed_runs"]) == (
        "failed", "worker_died", 120.0, 3,
    )  # fmt: skip
    assert slot < datetime.fromisoformat(ran["due_since"]) <= slot + timedelta(days=1)
    printed = said(schedule())
    assert "Each worker does by itself: dispatcher every 1 s, rescue every 1 s." in printed
    for word in (ENTRY, "2026-05-05 01:10:00", "failed worker_died", "2m", "overdue since", "3 slots passed without"):
        assert word in printed


def test_a_night_s_report_fits_a_narrow_terminal(settings: Settings, db: Database, tmp_path: Path) -> None:
    slot = datetime(2026, 5, 5, 1, 40, tzinfo=UTC)
    insert(db, entry=ENTRY, state="done", scheduled_for=slot, started_at=slot, finished_at=slot + timedelta(minutes=49))
    with db.transaction() as connection:
        connection.execute(
            text("UPDATE job SET progress = CAST(:progress AS jsonb)"),
            {
                "progress": """{"done": 7, "total": 9, "unfinished": ["job"],
                    "counts": {"user_sessions": {"removed": 5, "held": 2}, "quotes": {"needed": 1}},
                    "alarms": [{"code": "retention_overdue", "message": "quotes: a row is late."}]}"""
            },
        )
        connection.execute(
            text("INSERT INTO schedule_entry (name, decided_until) VALUES (:name, now())"), {"name": ENTRY}
        )
    printed = said(
        run_here("schedule", cwd=tmp_path, environment={**environment_of(settings, tmp_path), "COLUMNS": "80"})
    ).splitlines()
    report = [line for line in printed if line.startswith(f"{ENTRY}: ")]
    assert max(len(line) for line in printed if line not in report) <= 80
    assert [line.removeprefix(f"{ENTRY}: ") for line in report] == [
        "quotes: 1 needed",
        "user_sessions: 2 held, 5 removed",
        "its time was up before job was finished; the next run goes on there",
        "quotes: a row is late.",
    ]


def test_running_pausing_and_resuming_are_done_by_somebody(schedule: Worker, db: Database) -> None:
    answer = said(schedule("run", ENTRY, "--by", "olga"))
    job_id = UUID(answer.split()[1])
    with db.transaction() as connection:
        row = connection.execute(text("SELECT id, kind, queue, state, entry FROM job")).one()
    assert row == (job_id, ENTRY, "maintenance", "ready", ENTRY)
    said(schedule("pause", ENTRY, "--reason", "the disk is full"))
    paused = entry(read(schedule("--json")))
    assert (paused["paused_by"], paused["pause_reason"]) == (getpass.getuser(), "the disk is full")
    assert paused["last_outcome"] == "ready"
    assert said(schedule("resume", ENTRY, "--by", "piotr")).startswith(f"Resumed {ENTRY}: it runs next at 20")
    assert deeds(db) == [
        ("schedule.run", ENTRY, "olga"),
        ("schedule.paused", ENTRY, getpass.getuser()),
        ("schedule.resumed", ENTRY, "piotr"),
    ]


def test_what_cannot_be_done_is_said_in_a_sentence(schedule: Worker, db: Database) -> None:
    answer = refused(schedule("run", "partition"))
    assert "there is no entry partition; there is " in answer
    assert ENTRY in answer
    assert f"{ENTRY} is not paused" in refused(schedule("resume", ENTRY))
    assert deeds(db) == []
