"""Cancel, retry and replay, with two connections where there is a race."""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from models.vocabularies import JobState
from tasks.verification import question_store
from tasks.verification.question import Question
from tests.chaos.workers import celery_worker
from tests.conftest import DatabaseUrls, settings_for
from tests.tasks.verification.factories import insert_configuration, insert_driver
from tests.waiting import in_thread, until
from tests.worker.asking import ask, change, events, job
from tests.worker.kinds import TEST_KIND
from worker import ledger, window
from worker.crypto import Keyring
from worker.database import Database
from worker.dev.sandbox.personas import BY_LICENSE
from worker.dev.sandbox.server import SandboxServer
from worker.enqueue import EnqueuedVerification, enqueue_verification
from worker.errors import BadRequest
from worker.job import Job, Surroundings
from worker.operating import control
from worker.operating.control import Failed, Replay
from worker.process.engine import Engine
from worker.process.leases import LeaseRenewal
from worker.process.presence import Presence
from worker.settings import Settings
from worker.verdict import Verdict

LEASE = timedelta(seconds=30)
OVER = "finished_at = now() - interval '1 minute', attempt = 3, crashes = 2, error_code = :code"


@pytest.fixture
def settings(database: DatabaseUrls, redis_url: str) -> Settings:
    """Leases are renewed quickly, so that a running job hears of its cancellation."""
    return settings_for(database, redis_url, lease_s=2, renew_every_s=0.1)


@pytest.fixture
def engine(settings: Settings, db: Database, left_behind: None) -> Iterator[Engine]:
    engine = Engine(db, Surroundings(settings, Keyring.of(settings)), on_room=lambda: None)
    leases = LeaseRenewal(settings, db, engine, Presence(db, engine, ["verification"], calls_in_flight=1))
    leases.start()
    yield engine
    engine.close()
    leases.close()


def cancel(db: Database, job_id: UUID) -> JobState:
    with db.transaction() as connection:
        return control.cancel(connection, job_id, "olga")


def retry(db: Database, job_id: UUID) -> None:
    with db.transaction() as connection:
        control.retry(connection, job_id, "olga")


def replay(db: Database, failed: Failed, *, dry_run: bool = False, limit: int = 100) -> Replay:
    with db.transaction() as connection:
        return control.replay(connection, failed, "olga", dry_run=dry_run, limit=limit)


def claim(db: Database, *ids: UUID) -> list[Job]:
    with db.transaction() as connection:
        return ledger.claim(connection, ids, owner="me", lease=LEASE)


def end(db: Database, job_id: UUID, state: str = "failed", code: str = "test_gave_up") -> None:
    change(db, f"state = :state, {OVER} WHERE id = :id", id=job_id, state=state, code=code)


def deeds(db: Database, job_id: UUID) -> list[tuple[str, str | None]]:
    with db.transaction() as connection:
        rows = connection.execute(
            text('SELECT event, "by" FROM job_event WHERE job_id = :id ORDER BY id'), {"id": job_id}
        )
        return [(row.event, row.by) for row in rows]


def someone_waits(db: Database) -> bool:
    with db.transaction() as connection:
        return bool(connection.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar_one())


@pytest.mark.parametrize("run_at", ["now()", "now() + interval '1 day'"])
def test_a_waiting_job_ends_as_cancelled_whenever_it_was_to_run(db: Database, engine: Engine, run_at: str) -> None:
    (job_id,) = ask(db, do="raise")
    change(db, f"run_at = {run_at}, hinted_at = now()")
    assert cancel(db, job_id) == "ready"
    with db.transaction() as connection:
        due = window.pick(
            connection, "verification", limit=10, settled_for=timedelta(seconds=5), lost_after=timedelta(minutes=1)
        )
    assert [found.id for found in due] == [job_id], "a hint of before is no reason to wait"
    engine.begin(TEST_KIND, [job_id])
    engine.drain()
    assert job(db, job_id)["state"] == "cancelled"
    assert deeds(db, job_id) == [("cancel_requested", "olga"), ("cancelled", None)]


def test_a_running_job_stops_when_its_lease_is_renewed(db: Database, engine: Engine) -> None:
    (job_id,) = ask(db, s=60)
    engine.begin(TEST_KIND, [job_id])
    assert cancel(db, job_id) == "running"
    until(lambda: job(db, job_id)["state"] == "cancelled")
    assert events(db, job_id) == ["cancel_requested", "cancelled"]


def test_cancelling_twice_is_cancelling_once(db: Database) -> None:
    (job_id,) = ask(db)
    cancel(db, job_id)
    asked_at = job(db, job_id)["cancel_requested_at"]
    cancel(db, job_id)
    assert job(db, job_id)["cancel_requested_at"] == asked_at
    assert events(db, job_id) == ["cancel_requested"]


def test_a_cancel_that_meets_a_finish_learns_that_it_is_too_late(db: Database) -> None:
    (job_id,) = ask(db)
    (claimed,) = claim(db, job_id)
    with db.transaction() as finishing:
        ledger.finish(finishing, [(claimed, Verdict("done", 0))])
        cancelling = in_thread(lambda: cancel(db, job_id))
        until(lambda: someone_waits(db))
    with pytest.raises(BadRequest, match="it is done") as refusal:
        cancelling()
    assert refusal.value.code == "already_over"
    assert events(db, job_id) == []


def test_a_finish_that_meets_a_cancel_still_counts(db: Database) -> None:
    (job_id,) = ask(db)
    (claimed,) = claim(db, job_id)

    def finish() -> set[UUID]:
        with db.transaction() as connection:
            return ledger.finish(connection, [(claimed, Verdict("done", 0))])

    with db.transaction() as cancelling:
        control.cancel(cancelling, job_id, "olga")
        finishing = in_thread(finish)
        until(lambda: someone_waits(db))
    assert finishing() == {job_id}
    assert job(db, job_id)["state"] == "done"


@pytest.mark.parametrize("state", ["failed", "cancelled", "expired"])
def test_a_job_that_is_over_starts_anew_from_nothing(db: Database, state: str) -> None:
    (job_id,) = ask(db)
    change(db, "created_at = now() - interval '1 day', deadline_at = now() - interval '23 hours', fence = 7")
    change(db, "cancel_requested_at = now(), started_at = now(), hinted_at = now()")
    end(db, job_id, state)
    retry(db, job_id)
    row = job(db, job_id)
    assert (row["state"], row["attempt"], row["crashes"], row["fence"]) == ("ready", 0, 0, 7)
    assert [row[name] for name in ("finished_at", "started_at", "hinted_at", "cancel_requested_at")] == [None] * 4
    assert row["error_code"] == "test_gave_up", "the last error can be read until the next end"
    left = row["deadline_at"] - datetime.now(UTC)
    assert timedelta(minutes=59) < left <= timedelta(hours=1), "an hour at first, an hour again"
    assert deeds(db, job_id) == [("retried_by_hand", "olga")]
    assert len(claim(db, job_id)) == 1


@pytest.mark.parametrize(
    ("state", "code", "named"),
    [
        ("state = 'done', finished_at = now()", "already_done", "is done"),
        ("run_at = now()", "not_over", "it is ready"),
        ("state = 'running', lease_until = now()", "not_over", "it is running"),
    ],
)
def test_only_what_ended_badly_can_be_retried(db: Database, state: str, code: str, named: str) -> None:
    (job_id,) = ask(db)
    change(db, state)
    before = job(db, job_id)
    with pytest.raises(BadRequest, match=named) as refusal:
        retry(db, job_id)
    assert refusal.value.code == code
    assert job(db, job_id) == before


@pytest.mark.parametrize("deed", [cancel, retry])
def test_an_unknown_job_is_named(db: Database, deed: Callable[[Database, UUID], object]) -> None:
    unknown = uuid4()
    with pytest.raises(BadRequest, match=str(unknown)) as refusal:
        deed(db, unknown)
    assert refusal.value.code == "unknown_job"


def test_a_claim_that_meets_a_retry_waits_for_nobody_and_gets_the_job_afterwards(db: Database) -> None:
    (job_id,) = ask(db)
    end(db, job_id)
    with db.transaction() as retrying:
        control.retry(retrying, job_id, "olga")
        assert claim(db, job_id) == []
    (claimed,) = claim(db, job_id)
    assert (claimed.attempt, claimed.crashes) == (0, 0)


def test_of_two_retries_at_once_one_counts(db: Database) -> None:
    (job_id,) = ask(db)
    end(db, job_id)
    with db.transaction() as first:
        control.retry(first, job_id, "olga")
        second = in_thread(lambda: retry(db, job_id))
        until(lambda: someone_waits(db))
    with pytest.raises(BadRequest, match="it is ready"):
        second()
    assert events(db, job_id) == ["retried_by_hand"]


@pytest.fixture
def verify(settings: Settings, db: Database) -> Callable[..., EnqueuedVerification]:
    """Asks for a verification whose provider answers at `url` and may be asked twice more after an error."""

    def verify(url: str = "https://dcs.example") -> EnqueuedVerification:
        with db.transaction() as connection:
            insert_configuration(connection, Keyring.of(settings), url, retries=2)
            household = insert_driver(connection, Keyring.of(settings), BY_LICENSE["TX00000001"])
            return enqueue_verification(connection, integration="DCS_HOUSEHOLD_DRIVERS", driver_id=household.driver_id)

    return verify


def request(db: Database, request_id: int) -> dict[str, Any]:
    with db.transaction() as connection:
        return dict(
            connection.execute(text("SELECT * FROM integration_request WHERE id = :id"), {"id": request_id})
            .mappings()
            .one()
        )


@pytest.mark.parametrize("status", ["failed", "timeout"])
def test_the_request_of_a_retried_verification_is_pending_with_all_its_retries(
    db: Database, verify: Callable[..., EnqueuedVerification], status: str
) -> None:
    asked = verify()
    end(db, asked.job_id)
    with db.transaction() as connection:
        connection.execute(text("UPDATE integration_request SET request_status = :s, retry_count = 2"), {"s": status})
    retry(db, asked.job_id)
    assert (request(db, asked.request_id)["request_status"], request(db, asked.request_id)["retry_count"]) == (
        "pending", 0,
    )  # fmt: skip
    claimed = claim(db, asked.job_id)
    with db.transaction() as connection:
        (question,) = question_store.load(connection, claimed).values()
    assert isinstance(question, Question)
    assert question.retry_count == 0


def test_an_answer_that_is_there_is_not_asked_for_again(
    db: Database, verify: Callable[..., EnqueuedVerification]
) -> None:
    asked = verify()
    end(db, asked.job_id, code="bug")
    with db.transaction() as connection:
        connection.execute(text("UPDATE integration_request SET request_status = 'completed'"))
    assert replay(db, Failed(error_code="bug")) == Replay(1, 1, calls_at_most=0)
    assert request(db, asked.request_id)["request_status"] == "completed"


@pytest.mark.kills
def test_a_verification_that_failed_is_verified_when_it_is_retried_after_the_cause_is_gone(
    settings: Settings,
    db: Database,
    verify: Callable[..., EnqueuedVerification],
    tmp_path: Path,
) -> None:
    def switch(is_enabled: bool) -> None:
        with db.transaction() as connection:
            connection.execute(text("UPDATE integration_configuration SET is_enabled = :on"), {"on": is_enabled})

    with SandboxServer() as sandbox:
        asked = verify(sandbox.url)
        switch(False)
        with celery_worker(settings, tmp_path):
            until(lambda: job(db, asked.job_id)["state"] == "failed", 30)
            assert request(db, asked.request_id)["request_status"] == "failed"
            switch(True)
            retry(db, asked.job_id)
            until(lambda: job(db, asked.job_id)["state"] == "done", 30)
    assert request(db, asked.request_id)["request_status"] == "completed"


def everything(db: Database) -> str:
    """Each row that a replay could touch."""
    with db.transaction() as connection:
        rows = [
            list(connection.scalars(text(f"SELECT to_jsonb(t) FROM {table} AS t ORDER BY id")))  # noqa: S608 - named below
            for table in ("job", "job_event", "integration_request")
        ]
    return json.dumps(rows)


def test_the_dry_run_says_what_the_real_run_does_and_changes_nothing(
    db: Database, verify: Callable[..., EnqueuedVerification]
) -> None:
    asked = verify()
    others = ask(db, 3)
    for job_id in [asked.job_id, *others]:
        end(db, job_id)
    before = everything(db)
    promised = replay(db, Failed(error_code="test_gave_up"), dry_run=True)
    assert everything(db) == before
    assert replay(db, Failed(error_code="test_gave_up")) == promised == Replay(4, 4, calls_at_most=3)
    assert {job(db, job_id)["state"] for job_id in [asked.job_id, *others]} == {"ready"}
    assert request(db, asked.request_id)["request_status"] == "pending"
    assert replay(db, Failed(error_code="test_gave_up")) == Replay(0, 0, 0)


HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("failed", "expected"),
    [
        (Failed(kind="test.run"), {"plain", "other tenant", "other code", "old"}),
        (Failed(kind="test"), set()),
        (Failed(tenant="t2"), {"other tenant"}),
        (Failed(resource="DCS"), {"other kind"}),
        (Failed(error_code="else"), {"other code"}),
        (Failed(error_code="worker_died"), {"quarantined"}),
        (Failed(since=datetime.now(UTC) - HOUR), {"plain", "other tenant", "other code", "other kind"}),
        (Failed(before=datetime.now(UTC) - HOUR), {"old"}),
        (Failed(kind="test.run", tenant="system", error_code="test_gave_up"), {"plain", "old"}),
    ],
    ids=["kind", "unknown kind", "tenant", "resource", "code", "quarantine", "since", "before", "several"],
)
def test_a_replay_takes_the_failed_jobs_that_match(db: Database, failed: Failed, expected: set[str]) -> None:
    changes = {
        "plain": "",
        "other tenant": ", tenant = 't2'",
        "other kind": ", kind = 'test.other', resource = 'DCS'",
        "other code": ", error_code = 'else'",
        "quarantined": ", kind = 'test.deadly', error_code = 'worker_died'",
        "old": ", finished_at = now() - interval '2 days'",
        "cancelled": ", state = 'cancelled'",
        "done": ", state = 'done'",
    }
    names = dict(zip(ask(db, len(changes)), changes, strict=True))
    for job_id, name in names.items():
        end(db, job_id)
        change(db, f"priority = 4 {changes[name]} WHERE id = :id", id=job_id)
    found = replay(db, failed)
    assert {name for job_id, name in names.items() if job(db, job_id)["state"] == "ready"} == expected
    assert (found.matching, found.jobs) == (len(expected), len(expected))


def test_a_limit_takes_first_what_failed_first(db: Database) -> None:
    ids: Sequence[UUID] = ask(db, 3)
    for age, job_id in enumerate(ids):
        end(db, job_id)
        change(db, "finished_at = now() - make_interval(mins => :age) WHERE id = :id", id=job_id, age=age)
    assert replay(db, Failed(kind="test.run"), limit=2) == Replay(3, 2, 0)
    assert [job(db, job_id)["state"] for job_id in ids] == ["failed", "ready", "ready"]


def test_two_replays_at_once_share_the_jobs(db: Database) -> None:
    for job_id in ask(db, 4):
        end(db, job_id)
    with db.transaction() as first:
        mine = control.replay(first, Failed(kind="test.run"), "olga", dry_run=False, limit=3)
        theirs = replay(db, Failed(kind="test.run"))
    assert (mine.jobs, theirs.jobs) == (3, 1)


@pytest.mark.parametrize(
    ("failed", "limit", "code"),
    [(Failed(), 10, "no_filter"), (Failed(kind="x"), 0, "bad_limit"), (Failed(kind="x"), 10_001, "bad_limit")],
)
def test_a_replay_of_everything_is_refused(db: Database, failed: Failed, limit: int, code: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        replay(db, failed, limit=limit)
    assert refusal.value.code == code
