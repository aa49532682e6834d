"""Batches: steps in their order, and a callback that is asked for once, whoever ends the last job and whatever dies."""

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from models.vocabularies import OnFailure
from tests.conftest import DatabaseUrls
from tests.waiting import in_thread, until
from tests.worker.asking import ask, ask_many, change, events, job
from tests.worker.kinds import TEST_KIND
from worker import batch, ledger, window
from worker.batch import Callback, EnqueuedBatch, enqueue_batch
from worker.database import Database, is_outage
from worker.enqueue import enqueue
from worker.errors import BadRequest
from worker.job import Job
from worker.operating import control
from worker.operating.batch_progress import StepProgress, batches, progress
from worker.outcomes import Cancelled, Done, Expired, GiveUp, Outcome, Retry, Snooze
from worker.verdict import judge

LEASE = timedelta(seconds=30)
NO: Outcome[None] = GiveUp("no")
DONE: Outcome[None] = Done(None)
CALLBACK = Callback(TEST_KIND, {"what": "called back"}, priority=2)


def make(
    db: Database, *sizes: int, callback: Callback | None = CALLBACK, on_failure: OnFailure = "continue"
) -> tuple[UUID, list[list[UUID]]]:
    """A batch with so many jobs in each step, and their ids."""
    with db.transaction() as connection:
        steps = [ask_many(connection, size) for size in sizes]
        made = enqueue_batch(connection, steps, name="test", callback=callback, on_failure=on_failure, tenant="t1")
    assert made.is_new
    return made.batch_id, steps


def claim(db: Database, ids: Sequence[UUID]) -> list[Job]:
    with db.transaction() as connection:
        return ledger.claim(connection, ids, owner="me", lease=LEASE)


def finish(db: Database, jobs: Sequence[Job], outcome: Outcome[None] = DONE) -> None:
    with db.transaction() as connection:
        written = ledger.finish(connection, [(claimed, judge(claimed, outcome)) for claimed in jobs])
    assert written == {claimed.id for claimed in jobs}


def run(db: Database, ids: Sequence[UUID], outcome: Outcome[None] = DONE) -> None:
    """All of these are due, and end so."""
    claimed = claim(db, ids)
    assert {each.id for each in claimed} == set(ids)
    finish(db, claimed, outcome)


def callbacks(db: Database) -> list[dict[str, str]]:
    """The arguments of each callback job there is."""
    with db.transaction() as connection:
        return list(connection.execute(text("SELECT args FROM job WHERE args ? 'what'")).scalars())


def counts(db: Database, batch_id: UUID) -> list[tuple[int, int]]:
    """Of each step: jobs that are open, and jobs."""
    with db.transaction() as connection:
        return [(step.open, step.jobs) for step in progress(connection, batch_id).steps]


def picked(db: Database) -> set[UUID]:
    with db.transaction() as connection:
        due = window.pick(
            connection,
            TEST_KIND.queue,
            limit=100,
            settled_for=timedelta(0),
            lost_after=timedelta(minutes=1),
        )
    return {each.id for each in due}


def test_steps_run_one_after_the_other_and_the_callback_once_at_the_end(db: Database) -> None:
    batch_id, (first, second, third) = make(db, 2, 3, 1)
    assert picked(db) == set(first)
    assert claim(db, [*second, *third]) == []
    run(db, first[:1])
    assert claim(db, second) == []
    assert counts(db, batch_id) == [(1, 2), (3, 3), (1, 1)]
    run(db, first[1:])
    assert claim(db, third) == []
    run(db, second)
    assert callbacks(db) == []
    run(db, third)
    assert callbacks(db) == [{"what": "called back", "batch_id": str(batch_id)}]
    with db.transaction() as connection:
        found = progress(connection, batch_id)
        assert found.batch.callback_job_id is not None
        called = connection.execute(
            text("SELECT kind, queue, tenant, priority, max_attempts FROM job WHERE id = :id"),
            {"id": found.batch.callback_job_id},
        ).one()
    assert called == ("test.run", "verification", "t1", 2, 3)
    assert (found.batch.jobs, found.batch.open, found.batch.done, found.batch.step) == (6, 0, 6, 3)
    assert found.batch.finished_at is not None
    assert found.steps[1] == StepProgress(2, ready=0, running=0, done=3, failed=0, cancelled=0, expired=0)


@pytest.mark.parametrize("outcome", [NO, Expired(), Cancelled()])
def test_a_failure_in_a_step(db: Database, outcome: Outcome[None]) -> None:
    """One policy goes on with the next step, the other cancels what is left; both call back."""
    for on_failure in ("continue", "stop"):
        batch_id, (first, second, third) = make(db, 2, 1, 1, on_failure=on_failure)
        run(db, first[:1], outcome)
        run(db, first[1:])
        if on_failure == "stop":
            cancelled = claim(db, [*second, *third])
            assert [each.is_cancelled for each in cancelled] == [True, True]
            assert events(db, third[0]) == ["cancel_requested"]
            finish(db, cancelled, Cancelled())
        else:
            run(db, second, outcome)
            run(db, third)
        assert [args["batch_id"] for args in callbacks(db)].count(str(batch_id)) == 1


@pytest.mark.parametrize("outcome", [Retry("busy", timedelta(0)), Snooze("limit", timedelta(0))])
def test_a_job_that_comes_again_keeps_its_step_open(db: Database, outcome: Outcome[None]) -> None:
    _, (first, second) = make(db, 1, 1)
    run(db, first, outcome)
    assert claim(db, second) == []
    run(db, first)
    run(db, second)
    assert len(callbacks(db)) == 1


def test_a_step_without_jobs_is_passed_over(db: Database) -> None:
    _, (_, second, _, fourth, _) = make(db, 0, 1, 0, 1, 0)
    run(db, second)
    run(db, fourth)
    assert len(callbacks(db)) == 1


def test_a_batch_of_no_jobs_is_over_at_once(db: Database) -> None:
    batch_id, _ = make(db, 0)
    assert callbacks(db) == [{"what": "called back", "batch_id": str(batch_id)}]


def test_a_batch_without_a_callback_just_ends(db: Database) -> None:
    batch_id, (first,) = make(db, 1, callback=None)
    run(db, first)
    with db.transaction() as connection:
        found = progress(connection, batch_id).batch
        assert connection.execute(text("SELECT count(*) FROM job")).scalar_one() == 1
    assert (found.finished_at is not None, found.callback_job_id) == (True, None)


def test_two_workers_end_the_last_two_jobs_at_the_same_moment(db: Database) -> None:
    _, (ids,) = make(db, 2)
    one, other = claim(db, ids)
    with db.transaction() as connection:
        ledger.finish(connection, [(one, judge(one, DONE))])
        end = in_thread(lambda: finish(db, [other]))
        until(lambda: somebody_waits(db))
        assert callbacks(db) == []
    end()
    assert len(callbacks(db)) == 1


def somebody_waits(db: Database) -> bool:
    """For a lock. In a transaction of its own, because one sees its first picture of the activity until its end."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with db.transaction() as connection:
        return bool(connection.execute(text(waiting)).scalar_one())


def test_finishes_that_share_batches_neither_deadlock_nor_call_back_twice(db: Database) -> None:
    """Four workers end jobs of all batches in gathered transactions of any mixture and order, steps in between."""
    dice = random.Random(7)  # noqa: S311 - a mixture, the same each time
    made = [make(db, 8, 8) for _ in range(6)]
    for step in (0, 1):
        claimed = claim(db, [job_id for _, steps in made for job_id in steps[step]])
        assert len(claimed) == 48
        dice.shuffle(claimed)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda part: finish(db, part), [claimed[start::16] for start in range(16)]))
    assert sorted(args["batch_id"] for args in callbacks(db)) == sorted(str(batch_id) for batch_id, _ in made)
    with db.transaction() as connection:
        deadlocks = text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        assert connection.execute(deadlocks).scalar_one() == 0


def test_a_worker_that_dies_before_its_commit_has_called_nobody(db: Database, database: DatabaseUrls) -> None:
    _, (ids,) = make(db, 1)
    (claimed,) = claim(db, ids)

    def cut_off() -> None:
        with db.transaction() as connection:
            ledger.finish(connection, [(claimed, judge(claimed, DONE))])
            pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            with psycopg.connect(database.app_url, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s)", [pid])

    with pytest.raises(DBAPIError) as error:
        cut_off()
    assert is_outage(error.value)
    assert callbacks(db) == []
    change(db, "lease_until = now() - interval '1 second'")
    with db.transaction() as connection:
        assert ledger.rescue(connection, limit=10) == 1
    run(db, ids)
    assert len(callbacks(db)) == 1


def test_a_job_that_the_ledger_buries_does_not_keep_its_batch_open(db: Database) -> None:
    _, (first, second) = make(db, 1, 1)
    for step in (first, second):
        change(db, "crashes = :deaths WHERE id = :id", deaths=ledger.DEATHS_BEFORE_BURIAL - 1, id=step[0])
        assert len(claim(db, step)) == 1
        change(db, "lease_until = now() - interval '1 second' WHERE state = 'running'")
        with db.transaction() as connection:
            assert ledger.rescue(connection, limit=10) == 1
        assert job(db, step[0])["state"] == "failed"
    assert len(callbacks(db)) == 1


def test_a_burial_waits_for_nobody_who_ends_jobs_of_the_batch(db: Database) -> None:
    """Waiting in that order, for a batch with its jobs in hand, would be a deadlock."""
    _, (ids,) = make(db, 2)
    alive, dead = claim(db, ids)
    change(db, "crashes = 4, lease_until = now() - interval '1 second' WHERE id = :id", id=dead.id)
    with db.transaction() as connection:
        ledger.finish(connection, [(alive, judge(alive, DONE))])
        with db.transaction() as other:
            assert ledger.rescue(other, limit=10) == 0
    with db.transaction() as connection:
        assert ledger.rescue(connection, limit=10) == 1
    assert len(callbacks(db)) == 1


def test_a_cancelled_batch_ends_all_its_jobs_and_calls_nobody(db: Database) -> None:
    batch_id, (first, second) = make(db, 2, 2)
    (running,) = claim(db, first[:1])
    with db.transaction() as connection:
        assert batch.cancel(connection, batch_id, "olga") == 4
        assert ledger.renew(connection, [running], lease=LEASE)[0].is_cancelled
    waiting = [first[1], *second]
    assert picked(db) == set(waiting)
    run(db, waiting, Cancelled())
    finish(db, [running], Cancelled())
    assert callbacks(db) == []
    assert events(db, second[0]) == ["cancel_requested", "cancelled"]
    with db.transaction() as connection:
        trail = connection.execute(text("SELECT action, resource_id, details FROM audit_logs")).one()
    assert trail == ("batches.cancelled", str(batch_id), {"by": "olga", "jobs": 4})
    with db.transaction() as connection, pytest.raises(BadRequest) as over:
        batch.cancel(connection, batch_id, "olga")
    assert over.value.code == "already_over"


def test_a_cancel_of_a_batch_and_a_pick_of_its_jobs_wait_for_nobody_in_a_circle(db: Database) -> None:
    batch_id, (ids,) = make(db, 20)
    with db.transaction() as connection:
        batch.cancel(connection, batch_id, "olga")
        assert picked(db) == set()
    assert picked(db) == set(ids)


def test_a_job_that_is_held_back_expires_in_its_time(db: Database) -> None:
    _, (first, second) = make(db, 1, 1)
    change(db, "deadline_at = now() - interval '1 second' WHERE id = :id", id=second[0])
    assert picked(db) == {*first, *second}
    (expired,) = claim(db, second)
    assert expired.is_expired
    finish(db, [expired], Expired())
    run(db, first)
    assert len(callbacks(db)) == 1


def test_what_is_done_again_waits_for_its_step_again(db: Database) -> None:
    _, (first, second) = make(db, 1, 1)
    with db.transaction() as connection:
        ledger.request_cancel(connection, second[0])
    run(db, second, Cancelled())
    with db.transaction() as connection:
        control.retry(connection, second[0], "olga")
    assert claim(db, second) == []
    run(db, first)
    run(db, second)
    assert len(callbacks(db)) == 1


def test_what_is_done_again_after_the_end_calls_nobody_a_second_time(db: Database) -> None:
    _, (first, second) = make(db, 1, 1)
    run(db, first, NO)
    run(db, second)
    with db.transaction() as connection:
        control.retry(connection, first[0], "olga")
    run(db, first)
    assert len(callbacks(db)) == 1


def test_what_is_done_again_before_the_end_is_waited_for(db: Database) -> None:
    _, (ids,) = make(db, 2)
    run(db, ids[:1], NO)
    with db.transaction() as connection:
        control.retry(connection, ids[0], "olga")
    run(db, ids[1:])
    assert callbacks(db) == []
    run(db, ids[:1])
    assert len(callbacks(db)) == 1


def test_a_batch_goes_on_while_somebody_has_a_job_done_again(db: Database) -> None:
    """Whoever reopens holds the batch, or its next step could begin without the job that is held back for it."""
    _, (first, second) = make(db, 1, 2)
    with db.transaction() as connection:
        ledger.request_cancel(connection, second[0])
    run(db, second[:1], Cancelled())
    (claimed,) = claim(db, first)
    with db.transaction() as connection:
        control.retry(connection, second[0], "olga")
        end = in_thread(lambda: finish(db, [claimed]))
        until(lambda: somebody_waits(db))
    end()
    run(db, second)
    assert len(callbacks(db)) == 1


def test_the_same_request_again_gives_the_same_batch(db: Database) -> None:
    def asked() -> EnqueuedBatch:
        with db.transaction() as connection:
            ids = [enqueue(connection, TEST_KIND, idempotency_key=key).job_id for key in "ab"]
            return enqueue_batch(connection, [ids[:1], ids[1:]], name="test")

    first, again = asked(), asked()
    assert (first.is_new, again.is_new) == (True, False)
    assert first.batch_id == again.batch_id


def test_what_no_batch_can_be_made_of_is_refused_and_nothing_is_written(db: Database) -> None:
    (old,) = ask(db)
    _, (member,) = make(db, 1, callback=None)
    with db.transaction() as connection:
        fresh, later = (enqueue(connection, TEST_KIND).job_id for _ in range(2))
        tomorrow = enqueue(connection, TEST_KIND, run_at=datetime.now(UTC) + timedelta(days=1)).job_id
        for steps, code in (
            ([[fresh, fresh]], "not_one_place"),
            ([[fresh], [fresh]], "not_one_place"),
            ([[fresh, uuid4()]], "not_one_place"),
            ([[fresh], [old]], "not_fresh"),
            ([[fresh], member], "not_fresh"),
            ([[fresh], [tomorrow]], "has_run_at"),
        ):
            with pytest.raises(BadRequest) as refused:
                enqueue_batch(connection, steps, name="test")
            assert refused.value.code == code
        assert enqueue_batch(connection, [[tomorrow], [later]], name="test").is_new
    with db.transaction() as connection:
        assert len(batches(connection)) == 2
    assert job(db, fresh)["batch_id"] is None


def test_a_caller_that_takes_it_back_leaves_no_batch(db: Database) -> None:
    def taken_back() -> None:
        with db.transaction() as connection:
            enqueue_batch(connection, [ask_many(connection, 1)], name="test")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        taken_back()
    with db.transaction() as connection:
        assert batches(connection) == []


def test_sql_alone_makes_batches_too(database: DatabaseUrls, db: Database) -> None:
    (old,) = ask(db)
    with psycopg.connect(database.app_url) as connection:
        ids = [
            str(row[0])
            for row in connection.execute(
                "SELECT (insert_job('test.run', 'verification')).job_id FROM generate_series(1, 2)"
            )
        ]
        made = connection.execute(
            "SELECT batch_id FROM enqueue_batch(jsonb_build_array(jsonb_build_array(%s::text),"
            " jsonb_build_array(%s::text)), 'household')",
            ids,
        ).fetchone()
    with (
        psycopg.connect(database.app_url) as connection,
        pytest.raises(psycopg.errors.InvalidParameterValue, match="not asked for in this transaction") as refused,
    ):
        connection.execute("SELECT enqueue_batch(jsonb_build_array(jsonb_build_array(%s::text)), 'x')", [str(old)])
    assert refused.value.diag.message_detail == "not_fresh"
    assert made is not None
    run(db, [UUID(ids[0])])
    run(db, [UUID(ids[1])])
    assert counts(db, made[0]) == [(0, 1), (0, 1)]


def test_a_job_without_a_batch_costs_its_finish_nothing(db: Database) -> None:
    statements: list[str] = []
    alone, (_, (member,)) = ask(db), make(db, 1)
    claimed = claim(db, [*alone, *member])
    event.listen(db.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    finish(db, [each for each in claimed if each.batch_id is None])
    assert len(statements) == 1
    finish(db, [each for each in claimed if each.batch_id is not None])
    assert len(statements) == 4


def test_thousands_in_one_batch(db: Database) -> None:
    batch_id, (children, last) = make(db, 2000, 1)
    claimed = claim(db, children)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda start: finish(db, claimed[start : start + 100]), range(0, 2000, 100)))
    assert counts(db, batch_id) == [(0, 2000), (1, 1)]
    run(db, last)
    assert len(callbacks(db)) == 1
