"""The engine on a real database: what runs end in, and that a fault of one job stays with that job."""

from threading import Event
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from tests.waiting import in_thread, until
from tests.worker.asking import ask, change, job
from tests.worker.kinds import TEST_KIND
from worker import ledger
from worker.database import Database
from worker.process.engine import Engine, Summary
from worker.process.transactions import Transactions
from worker.settings import Settings


def run(engine: Engine, ids: list[UUID]) -> Summary:
    """Begin the jobs and wait for their ends."""
    summary = engine.begin(TEST_KIND, ids)
    engine.drain()
    return summary


def effects(db: Database) -> dict[UUID, list[str]]:
    with db.transaction() as connection:
        rows = connection.execute(text("SELECT job_id, array_agg(outcome) FROM effect GROUP BY job_id"))
        return dict(rows.all())


def test_a_hundred_jobs_end_done_with_one_effect_each(engine: Engine, db: Database) -> None:
    ids = ask(db, 100)
    assert run(engine, ids) == Summary(hinted=100, claimed=100)
    assert effects(db) == {job_id: ["done"] for job_id in ids}
    assert {job(db, job_id)["state"] for job_id in ids} == {"done"}


@pytest.mark.parametrize(
    ("do", "state", "attempt", "code"),
    [
        ("done", "done", 0, None),
        ("retry", "ready", 1, "test_retry"),
        ("snooze", "ready", 0, "test_snooze"),
        ("give_up", "failed", 1, "test_gave_up"),
        ("raise", "ready", 1, "bug"),
        ("hang", "ready", 1, "overran"),
    ],
)
def test_each_outcome_gives_its_state(
    engine: Engine, db: Database, do: str, state: str, attempt: int, code: str | None
) -> None:
    (job_id,) = ask(db, do=do)
    run(engine, [job_id])
    row = job(db, job_id)
    assert (row["state"], row["attempt"], row["error_code"], row["crashes"]) == (state, attempt, code, 0)


def test_the_last_attempt_spent_is_the_end(engine: Engine, db: Database) -> None:
    (job_id,) = ask(db, do="retry")
    for _ in range(TEST_KIND.max_attempts):
        run(engine, [job_id])
    assert job(db, job_id)["state"] == "failed"
    assert effects(db)[job_id] == ["retry", "retry", "giveup"]


def test_what_a_bug_said_is_not_kept(engine: Engine, db: Database) -> None:
    (job_id,) = ask(db, do="raise")
    run(engine, [job_id])
    message = str(job(db, job_id)["error_message"])
    assert message.startswith("ValueError at tests.worker.kinds:")
    assert "person" not in message


@pytest.mark.parametrize("step", ["load", "save"])
def test_one_job_that_fails_a_shared_transaction_leaves_the_others_alone(
    engine: Engine, db: Database, step: str
) -> None:
    good = ask(db, 20)
    (bad,) = ask(db, load="fail") if step == "load" else ask(db, save="fail")
    run(engine, [*good[:10], bad, *good[10:]])
    assert {job(db, job_id)["state"] for job_id in good} == {"done"}
    assert (job(db, bad)["state"], job(db, bad)["error_code"]) == ("ready", "bug")
    assert effects(db) == {**{job_id: ["done"] for job_id in good}, bad: ["retry"]}


def test_a_job_past_its_deadline_expires_without_running(engine: Engine, db: Database) -> None:
    (job_id,) = ask(db, do="raise")
    change(db, "deadline_at = now() - interval '1 second'")
    run(engine, [job_id])
    assert job(db, job_id)["state"] == "expired"
    assert effects(db)[job_id] == ["expired"]


def test_a_deadline_ends_a_run_that_is_under_way(engine: Engine, db: Database) -> None:
    (job_id,) = ask(db, do="hang")
    change(db, "deadline_at = now() + interval '300 ms'")
    run(engine, [job_id])
    assert job(db, job_id)["state"] == "expired"


def test_a_third_death_quarantines_through_save(engine: Engine, db: Database) -> None:
    (job_id,) = ask(db, do="raise")
    change(db, "crashes = 3")
    run(engine, [job_id])
    assert (job(db, job_id)["state"], job(db, job_id)["error_code"]) == ("failed", "worker_died")
    assert effects(db)[job_id] == ["giveup"]


def test_a_cancelled_job_that_runs_stops_at_the_next_renewal(engine: Engine, db: Database) -> None:
    (job_id,) = ask(db, do="done", s=60)
    engine.begin(TEST_KIND, [job_id])
    with db.transaction() as connection:
        assert ledger.request_cancel(connection, job_id)
    until(lambda: engine.running())
    engine.tell([ledger.Held(job_id, is_ours=True, is_cancelled=True)])
    engine.drain()
    assert job(db, job_id)["state"] == "cancelled"
    assert effects(db)[job_id] == ["cancelled"]


def test_a_lost_job_writes_nothing(engine: Engine, db: Database) -> None:
    (job_id,) = ask(db, do="done", s=60)
    engine.begin(TEST_KIND, [job_id])
    until(lambda: engine.running())
    engine.tell([ledger.Held(job_id, is_ours=False, is_cancelled=False)])
    engine.drain()
    assert effects(db) == {}


def test_more_hints_than_room_are_given_back(settings: Settings, engine: Engine, db: Database) -> None:
    ids = ask(db, settings.calls_in_flight * 3, s=0.2)
    change(db, "hinted_at = now()")
    summary = run(engine, ids)
    assert settings.calls_in_flight <= summary.claimed < len(ids)
    with db.transaction() as connection:
        left = connection.execute(text("SELECT count(*), count(hinted_at) FROM job WHERE state = 'ready'")).one()
    assert left == (len(ids) - summary.claimed, 0)


def test_two_hints_for_one_job_run_it_once(engine: Engine, db: Database) -> None:
    (job_id,) = ask(db, s=0.1)
    hints = [in_thread(lambda: engine.begin(TEST_KIND, [job_id])) for _ in range(5)]
    assert sum(hint().claimed for hint in hints) == 1
    engine.drain()
    assert effects(db) == {job_id: ["done"]}


def test_after_stop_nothing_is_claimed_and_what_runs_ends(engine: Engine, db: Database) -> None:
    (running,) = ask(db, s=0.3)
    (late,) = ask(db)
    engine.begin(TEST_KIND, [running])
    engine.stop()
    assert engine.begin(TEST_KIND, [late]).claimed == 0
    engine.drain()
    assert (job(db, running)["state"], job(db, late)["state"]) == ("done", "ready")


def test_a_database_that_went_away_between_a_bug_and_its_blame_kept_a_place_for_ever(
    engine: Engine, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bad,) = ask(db, load="fail")
    claim_only = Transactions._claim_only

    def gone(self: Transactions, *args: Any) -> Any:
        monkeypatch.setattr(Transactions, "_claim_only", claim_only)
        raise OperationalError("SELECT 1", {}, psycopg.OperationalError("the connection is lost"))

    monkeypatch.setattr(Transactions, "_claim_only", gone)
    free = engine.room.wanted
    assert run(engine, [bad]).claimed == 0
    assert engine.room.wanted == free
    assert job(db, bad)["state"] == "ready"
    run(engine, [bad])
    assert job(db, bad)["error_code"] == "bug"


def test_a_message_of_many_jobs_has_the_dispatcher_look_for_more_at_once(
    engine: Engine, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a great bulk only the first jobs are hinted at. Idle workers began the others up to a second later."""
    looks: list[None] = []
    monkeypatch.setattr(engine, "_on_room", lambda: looks.append(None))
    engine.begin(TEST_KIND, ask(db, do="hang"))
    assert len(looks) == 0
    engine.begin(TEST_KIND, ask(db, 2, do="hang"))
    assert len(looks) == 1


def test_a_message_waited_in_hand_until_its_job_was_claimed_so_that_claims_were_small(
    engine: Engine, db: Database
) -> None:
    """What counts against Celery's prefetch limit is what has no place yet."""
    (job_id,) = ask(db)
    dealt_with = Event()
    with db.transaction() as connection:
        connection.execute(text("LOCK TABLE job"))
        engine.hand_over(TEST_KIND, [job_id], dealt_with.set)
        assert dealt_with.wait(10)
        assert engine.room.taken == 1
    engine.drain()
    assert effects(db) == {job_id: ["done"]}


def test_a_message_without_a_place_stays_in_hand(settings: Settings, engine: Engine, db: Database) -> None:
    engine.begin(TEST_KIND, ask(db, settings.calls_in_flight, s=0.5))
    dealt_with = Event()
    engine.hand_over(TEST_KIND, ask(db), dealt_with.set)
    assert not dealt_with.wait(0.1)
    engine.drain()
    assert dealt_with.is_set()


def test_a_message_of_which_nothing_could_be_claimed_is_dealt_with(engine: Engine, db: Database) -> None:
    engine.stop()
    dealt_with = Event()
    engine.hand_over(TEST_KIND, ask(db, 3), dealt_with.set)
    assert dealt_with.wait(10)
