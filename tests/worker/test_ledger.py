"""Claim, renew, finish, rescue and pick, with two connections where there is a race."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from tests.worker.asking import ask, change, events, job
from tests.worker.kinds import TEST_KIND
from worker import ledger, window
from worker.bulk import enqueue_many
from worker.database import Database
from worker.job import Job
from worker.verdict import Verdict

LEASE = timedelta(seconds=30)
DONE = Verdict("done", 0)


def claim(db: Database, *ids: UUID, owner: str = "me") -> list[Job]:
    with db.transaction() as connection:
        return ledger.claim(connection, ids, owner=owner, lease=LEASE)


def finish(db: Database, *jobs: Job, verdict: Verdict = DONE) -> set[UUID]:
    with db.transaction() as connection:
        return ledger.finish(connection, [(claimed, verdict) for claimed in jobs])


def rescue(db: Database) -> int:
    with db.transaction() as connection:
        return ledger.rescue(connection, limit=100)


def pick(db: Database, limit: int = 100, *, lost_after_s: float = 60, settled_s: float = 0) -> list[UUID]:
    with db.transaction() as connection:
        due = window.pick(
            connection,
            "verification",
            limit=limit,
            settled_for=timedelta(seconds=settled_s),
            lost_after=timedelta(seconds=lost_after_s),
        )
    return [job.id for job in due]


def test_two_workers_claim_the_same_jobs_and_each_job_has_one_winner(db: Database) -> None:
    ids = ask(db, 50)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda owner: claim(db, *ids, owner=owner), ["a", "b"])
    assert sorted(job.id for job in [*first, *second]) == sorted(ids)


def test_a_claim_waits_for_nobody(db: Database) -> None:
    (job_id,) = ask(db)
    with db.transaction() as connection:
        connection.execute(text("SELECT * FROM job FOR UPDATE"))
        assert claim(db, job_id) == []


@pytest.mark.parametrize("state", ["run_at = now() + interval '1 hour'", "state = 'done', finished_at = now()"])
def test_what_is_not_due_or_is_over_is_not_claimed(db: Database, state: str) -> None:
    (job_id,) = ask(db)
    change(db, state)
    assert claim(db, job_id) == []


def test_a_finish_with_an_old_fence_writes_nothing(db: Database) -> None:
    (job_id,) = ask(db)
    (slow,) = claim(db, job_id, owner="slow")
    change(db, "lease_until = now() - interval '1 second'")
    assert rescue(db) == 1
    (quick,) = claim(db, job_id, owner="quick")
    assert finish(db, slow) == set()
    assert job(db, job_id)["leased_by"] == "quick"
    assert finish(db, quick) == {job_id}
    assert finish(db, quick) == set(), "a finish that is repeated after a lost reply writes nothing either"


def test_renewal_says_what_was_lost_and_what_was_cancelled(db: Database) -> None:
    kept, lost, cancelled = ask(db, 3)
    jobs = claim(db, kept, lost, cancelled)
    change(db, "fence = fence + 1 WHERE id = :id", id=lost)
    with db.transaction() as connection:
        ledger.request_cancel(connection, cancelled)
    change(db, "lease_until = now() + interval '1 second' WHERE state = 'running'")
    with db.transaction() as connection:
        held = {news.id: (news.is_ours, news.is_cancelled) for news in ledger.renew(connection, jobs, lease=LEASE)}
    assert held == {kept: (True, False), lost: (False, False), cancelled: (True, True)}
    with db.transaction() as connection:
        seconds = connection.execute(text("SELECT id, extract(epoch FROM lease_until - now()) > 20 FROM job")).all()
    assert dict(seconds) == {kept: True, lost: False, cancelled: True}


def test_renewal_passes_over_rows_that_are_being_finished(db: Database) -> None:
    (job_id,) = ask(db)
    jobs = claim(db, job_id)
    with db.transaction() as finishing:
        ledger.finish(finishing, [(jobs[0], DONE)])
        with db.transaction() as renewing:
            (news,) = ledger.renew(renewing, jobs, lease=LEASE)
        assert news.is_ours


def test_only_jobs_whose_lease_ran_out_are_rescued_and_the_attempt_is_not_burnt(db: Database) -> None:
    dead, alive = ask(db, 2)
    claim(db, dead, alive)
    change(db, "lease_until = now() - interval '1 second' WHERE id = :id", id=dead)
    assert rescue(db) == 1
    assert job(db, alive)["state"] == "running"
    row = job(db, dead)
    assert (row["state"], row["crashes"], row["attempt"], row["error_code"]) == ("ready", 1, 0, "worker_died")
    assert events(db, dead) == ["crashed"]
    assert claim(db, dead), "the first death costs no wait"


def test_a_job_that_takes_every_worker_along_is_buried_by_the_ledger(db: Database) -> None:
    (job_id,) = ask(db)
    for _ in range(ledger.DEATHS_BEFORE_BURIAL):
        change(db, "run_at = now()")
        assert claim(db, job_id)
        change(db, "lease_until = now() - interval '1 second'")
        rescue(db)
    assert job(db, job_id)["state"] == "failed"
    assert events(db, job_id) == ["crashed"] * ledger.DEATHS_BEFORE_BURIAL


def test_tenants_take_turns(db: Database) -> None:
    many = ask(db, 100, tenant="many")
    few = ask(db, 3, tenant="few")
    first = pick(db, 10)
    assert set(first[:6:2]) | set(first[1:6:2]) >= set(few)
    assert len(set(first) & set(many)) == 7


def test_ten_thousand_waiting_jobs_delay_anothers_first_by_one_turn(db: Database) -> None:
    """So it starts with the next look of the dispatcher, a second later at the most, however many wait before it."""
    with db.transaction() as connection:
        many = {one.job_id for one in enqueue_many(connection, TEST_KIND, [{}] * 10_000, tenant="many", priority=0)}
    (first,) = ask(db, tenant="few", priority=9)
    assert first in pick(db, 2)
    change(db, "hinted_at = NULL")
    (second,) = ask(db, tenant="few", priority=9)
    turns = pick(db, 4)
    assert {first, second} < set(turns)
    assert len(many & set(turns)) == 2


def test_priority_decides_within_a_tenant_and_waiting_outweighs_it(db: Database) -> None:
    (normal,) = ask(db, priority=4)
    (urgent,) = ask(db, priority=0)
    (patient,) = ask(db, priority=9)
    assert pick(db) == [urgent, normal, patient]
    change(db, "hinted_at = NULL")
    change(db, "run_at = now() - interval '10 minutes' WHERE id = :id", id=patient)
    assert pick(db) == [patient, urgent, normal]


def test_a_hinted_job_is_hinted_again_only_when_its_hint_must_be_lost(db: Database) -> None:
    ids = ask(db, 3)
    assert sorted(pick(db)) == sorted(ids)
    assert pick(db) == []
    change(db, "hinted_at = now() - interval '61 seconds' WHERE id = :id", id=ids[0])
    assert pick(db) == [ids[0]]
    with db.transaction() as connection:
        window.give_back(connection, ids[1:])
    assert sorted(pick(db)) == sorted(ids[1:])


def test_the_newest_jobs_are_left_to_their_own_hint(db: Database) -> None:
    ask(db)
    assert pick(db, settled_s=10) == []
    change(db, "run_at = now() - interval '11 seconds'")
    assert len(pick(db, settled_s=10)) == 1


def test_a_wait_never_outlasts_the_deadline(db: Database) -> None:
    (job_id,) = ask(db)
    change(db, "deadline_at = now() + interval '1 minute'")
    jobs = claim(db, job_id)
    finish(db, *jobs, verdict=Verdict("ready", 1, timedelta(hours=1), "retried", "test"))
    row = job(db, job_id)
    assert row["run_at"] == row["deadline_at"]


def test_finished_and_later_jobs_cost_a_pick_nothing(db: Database) -> None:
    """Buffers, not seconds: the work of a pick is bounded by what it picks."""
    with db.transaction() as connection:
        connection.execute(
            text(
                """
                INSERT INTO job (kind, queue, tenant, state, finished_at, run_at)
                SELECT 'test.run', 'verification', 't' || n % 3, CASE WHEN n % 2 = 0 THEN 'done' ELSE 'ready' END,
                       CASE WHEN n % 2 = 0 THEN now() END, now() + interval '1 day' + n * interval '1 second'
                FROM generate_series(1, 20000) AS n
                """
            )
        )
        connection.execute(text("ANALYZE job"))
    due = ask(db, 5)
    with db.transaction() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = connection.execute(
            text("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + window._PICK.text),
            {"queue": "verification", "limit": 10, "settled_for": timedelta(0), "lost_after": timedelta(60)},
        ).scalar_one()
    assert plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"] < 200
    assert due
