"""Why is my job not running: every cause, from rows as the machine leaves them."""

from datetime import UTC, datetime, timedelta
from typing import get_args
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from tests.worker.asking import ask, ask_many, change
from worker import ledger, pauses
from worker.batch import enqueue_batch
from worker.database import Database
from worker.errors import BadRequest
from worker.job import Job
from worker.operating.cause import Cause
from worker.operating.why import Why, why
from worker.outcomes import Cancelled, Done, Expired, GiveUp, Outcome, Retry, Snooze
from worker.pauses import Scope
from worker.verdict import judge

LEASE = timedelta(seconds=30)
HOUR = timedelta(hours=1)


def because(db: Database, job_id: UUID) -> Why:
    with db.transaction() as connection:
        return why(connection, job_id)


def listen(db: Database, queue: str = "verification", ago: timedelta = timedelta(0)) -> None:
    """A worker process says that it is there."""
    with db.transaction() as connection:
        connection.execute(
            text(
                "INSERT INTO worker_process (owner, queues, hostname, pid, in_flight, calls_in_flight, seen_at)"
                " VALUES (gen_random_uuid()::text, ARRAY[:queue], 'host', 1, 3, 8, now() - :ago)"
            ),
            {"queue": queue, "ago": ago},
        )


def claim(db: Database, job_id: UUID) -> Job:
    with db.transaction() as connection:
        (claimed,) = ledger.claim(connection, [job_id], owner="host:7:abc", lease=LEASE)
    return claimed


def run(db: Database, job_id: UUID, outcome: Outcome[None]) -> None:
    """One run of the job that ends so."""
    claimed = claim(db, job_id)
    with db.transaction() as connection:
        ledger.finish(connection, [(claimed, judge(claimed, outcome))])


def die(db: Database, job_id: UUID) -> None:
    """The worker that runs the job dies, and another one frees it."""
    change(db, "run_at = now() WHERE state = 'ready'")
    claim(db, job_id)
    change(db, "lease_until = now() - interval '1 second'")
    with db.transaction() as connection:
        ledger.rescue(connection, limit=1)


def cancel(db: Database, job_id: UUID) -> None:
    with db.transaction() as connection:
        ledger.request_cancel(connection, job_id, "olga")


def pause(db: Database, scope: Scope, until: datetime | None = None) -> None:
    with db.transaction() as connection:
        pauses.pause(connection, scope, "olga", "the provider is down", until)


def given(db: Database, cause: Cause) -> UUID:
    """A job that is held back, or over, for this cause."""
    (job_id,) = ask(db)
    if cause != "no_worker":
        listen(db)
    match cause:
        case "done":
            run(db, job_id, Done(None))
        case "failed":
            run(db, job_id, GiveUp("request_refused", "The provider refused it."))
        case "quarantined":
            for _ in range(ledger.DEATHS_BEFORE_BURIAL):
                die(db, job_id)
        case "cancelled":
            run(db, job_id, Cancelled())
        case "expired":
            change(db, "deadline_at = now()")
            run(db, job_id, Expired())
        case "running":
            claim(db, job_id)
        case "stopping":
            claim(db, job_id)
            cancel(db, job_id)
        case "lease_ran_out":
            claim(db, job_id)
            change(db, "lease_until = now() - interval '1 second'")
        case "cancel_requested":
            cancel(db, job_id)
        case "deadline_passed":
            change(db, "deadline_at = now() - interval '1 second'")
        case "paused":
            pause(db, Scope(tenant="system", kind="test.run"))
        case "retry_later":
            run(db, job_id, Retry("unavailable", HOUR, "The provider answered 503."))
        case "snoozed":
            run(db, job_id, Snooze("the provider's rate limit", HOUR))
        case "crashed":
            die(db, job_id)
            die(db, job_id)
            change(db, "run_at = now() + interval '20 seconds'")  # it is random how long
        case "scheduled":
            change(db, "run_at = now() + interval '1 hour'")
        case "waits_for_step":
            with db.transaction() as connection:
                first, (job_id,) = (
                    ask_many(connection, 5),
                    ask_many(connection, 1),
                )
                enqueue_batch(connection, [first, [job_id]], name="household")
            run(db, first[0], Done(None))
            run(db, first[1], Retry("busy", HOUR))
            run(db, first[2], GiveUp("request_refused"))
        case "hinted":
            change(db, "hinted_at = now()")
        case "waits_for_turn":
            ask(db, 2, priority=0)
            ask(db, 3, tenant="other")
            ask(db, 1, priority=9)
    return job_id


SAID: dict[Cause, str] = {
    "done": "done since",
    "failed": "with request_refused: The provider refused it.",
    "quarantined": "5 workers died",
    "cancelled": "was cancelled at",
    "expired": "its deadline was",
    "running": "by host:7:abc, first begun at",
    "stopping": "asked it to stop at",
    "lease_ran_out": "worker host:7:abc died or lost the database",
    "cancel_requested": "a worker ends it.",
    "deadline_passed": "a worker ends it as expired.",
    "paused": "olga paused kind test.run, tenant system at",
    "retry_later": "after 1 of 3 attempts ended in errors, the last in unavailable: The provider answered 503.",
    "snoozed": ": the provider's rate limit.",
    "crashed": "because 2 workers died",
    "scheduled": "not to run before",
    "waits_for_step": "(household): 3 of 5 jobs there are open.",
    "no_worker": "No worker listens to its queue, verification; none has been seen",
    "hinted": "was told of it at",
    "waits_for_turn": "2 due jobs of its tenant system before it, 2 tenants take turns, and 3 of 8 places are taken",
}


def test_every_cause_is_in_the_table() -> None:
    assert set(SAID) == set(get_args(Cause))


@pytest.mark.parametrize("cause", get_args(Cause))
def test_the_cause_is_told(db: Database, cause: Cause) -> None:
    answer = because(db, given(db, cause))
    assert answer.code == cause
    assert SAID[cause] in answer.sentence
    assert answer.sentence.count("None") == 0
    assert answer.facts
    assert None not in answer.facts.values()


def test_a_pause_that_outlasts_the_wait_is_the_cause_and_a_shorter_one_is_not(db: Database) -> None:
    job_id = given(db, "scheduled")
    pause(db, Scope(tenant="system"), datetime.now(UTC) + HOUR / 2)
    assert because(db, job_id).code == "scheduled"
    pause(db, Scope(kind="test.run"))
    answer = because(db, job_id)
    assert (answer.code, answer.facts["pause_kind"]) == ("paused", "test.run")
    assert "until somebody resumes it: the provider is down (the job itself waits until" in answer.sentence


def test_a_pause_over_what_waits_for_its_step_tells_both(db: Database) -> None:
    job_id = given(db, "waits_for_step")
    pause(db, Scope(tenant="system"), datetime.now(UTC) + HOUR)
    assert because(db, job_id).code == "waits_for_step"
    pause(db, Scope(kind="test.run"))
    answer = because(db, job_id)
    assert answer.code == "paused"
    assert "(the job itself waits for step 1 of batch" in answer.sentence


def test_where_nobody_listens_a_pause_is_still_the_first_thing_to_know(db: Database) -> None:
    job_id = given(db, "no_worker")
    pause(db, Scope(tenant="system"))
    assert because(db, job_id).code == "paused"


@pytest.mark.parametrize("cause", ["cancel_requested", "deadline_passed", "lease_ran_out"])
def test_what_a_worker_has_to_end_says_so_where_there_is_none(db: Database, cause: Cause) -> None:
    job_id = given(db, cause)
    with db.transaction() as connection:
        connection.execute(text("DELETE FROM worker_process"))
    listen(db, "maintenance")
    answer = because(db, job_id)
    assert answer.code == cause
    assert "but none listens to its queue verification" in answer.sentence


def test_a_worker_that_was_not_seen_for_a_while_does_not_count(db: Database) -> None:
    job_id = given(db, "no_worker")
    listen(db, ago=timedelta(minutes=5))
    listen(db, "maintenance")
    answer = because(db, job_id)
    assert answer.code == "no_worker"
    assert "the last one was seen at" in answer.sentence


def test_paused_jobs_take_no_turn(db: Database) -> None:
    job_id = given(db, "waits_for_turn")
    pause(db, Scope(tenant="other"))
    answer = because(db, job_id)
    assert (answer.facts["ahead"], answer.facts["tenants"]) == (2, 1)
    assert "nobody else has due jobs" in answer.sentence


def test_a_job_retried_by_hand_waits_for_its_turn_again(db: Database) -> None:
    job_id = given(db, "failed")
    with db.transaction() as connection:
        connection.execute(text("SELECT * FROM reopen_jobs(ARRAY[CAST(:id AS uuid)], 'olga')"), {"id": job_id})
    assert because(db, job_id).code == "waits_for_turn"


def test_an_unknown_job_is_named(db: Database) -> None:
    unknown = uuid4()
    with pytest.raises(BadRequest, match=str(unknown)) as refusal:
        because(db, unknown)
    assert refusal.value.code == "unknown_job"
