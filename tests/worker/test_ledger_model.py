"""The ledger against a model of it: workers claim, finish, die, come back, and no job ever has two owners.

Hypothesis makes up the histories and shortens those that go wrong. The model is a few plain objects; the ledger is the
real one. That the model can tell right from wrong is shown on ledgers that were broken on purpose.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import TextClause, text

from tests.worker.asking import ask, change
from tests.worker.kinds import TEST_KIND
from worker import ledger
from worker.database import Database
from worker.job import Job
from worker.outcomes import Cancelled, Done, Expired, GiveUp, Outcome, Retry, Snooze
from worker.verdict import judge, last_word

LEASE = timedelta(seconds=30)
LATER = timedelta(hours=1)
REOPENABLE = {"failed", "cancelled", "expired"}
TERMINAL = {"done", *REOPENABLE}
EDGES = {"ready": {"running"}, "running": {"ready", *TERMINAL}}

WORKERS = st.sampled_from(["ada", "bob", "cleo"])
OUTCOMES: st.SearchStrategy[Outcome[Any]] = st.sampled_from(
    [
        Done(None),
        Retry("busy", timedelta(0)),
        Retry("busy", LATER),
        Snooze("limit", timedelta(0)),
        Snooze("limit", LATER),
        GiveUp("no"),
        Expired(),
        Cancelled(),
    ]
)
SOME = st.lists(st.integers(0, 20), min_size=1, max_size=4)
"""Which of a list to take, whatever its length."""


@dataclass
class Expected:
    """What the model knows of one job."""

    state: str = "ready"
    fence: int = 0
    attempt: int = 0
    crashes: int = 0
    owner: str | None = None
    is_due: bool = True
    is_hinted: bool = False
    is_dead: bool = False
    """Its lease ran out."""
    is_cancelled: bool = False

    @property
    def may_begin(self) -> bool:
        """A cancelled job is claimed before its time, to be ended."""
        return self.state == "ready" and (self.is_due or self.is_cancelled)


class LedgerMachine(RuleBasedStateMachine):
    """Histories of jobs. `held` are the claims each worker believes in, also those it has lost."""

    db: Database

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[UUID, Expected] = {}
        self.held: dict[str, list[Job]] = {"ada": [], "bob": [], "cleo": []}
        self.finished_fences: set[tuple[UUID, int]] = set()
        self.seen: dict[UUID, Any] = {}
        with self.db.transaction() as connection:
            connection.execute(text("DELETE FROM job"))

    def some(self, which: list[int]) -> list[UUID]:
        """Jobs by their turn, some of them twice."""
        ids = list(self.jobs)
        return [ids[number % len(ids)] for number in which]

    def owns(self, job: Job) -> bool:
        expected = self.jobs[job.id]
        return expected.state == "running" and expected.fence == job.fence

    @initialize(count=st.integers(1, 3))
    def first_jobs(self, count: int) -> None:
        self.ask(count, "system")

    @precondition(lambda self: len(self.jobs) < 6)
    @rule(count=st.integers(1, 2), tenant=st.sampled_from(["system", "other"]))
    def ask(self, count: int, tenant: str) -> None:
        self.jobs |= {job_id: Expected() for job_id in ask(self.db, count, tenant=tenant)}

    @rule(worker=WORKERS, which=SOME)
    def claim(self, worker: str, which: list[int]) -> None:
        ids = self.some(which)
        with self.db.transaction() as connection:
            claimed = ledger.claim(connection, ids, owner=worker, lease=LEASE)
        assert sorted(job.id for job in claimed) == sorted({job_id for job_id in ids if self.jobs[job_id].may_begin})
        for job in claimed:
            expected = self.jobs[job.id]
            assert job.fence == expected.fence + 1
            assert (job.attempt, job.crashes, job.is_cancelled) == (
                expected.attempt,
                expected.crashes,
                expected.is_cancelled,
            )
            expected.state, expected.fence, expected.owner = "running", job.fence, worker
            expected.is_hinted = expected.is_dead = False
        self.held[worker] += claimed

    @precondition(lambda self: any(self.held.values()))
    @rule(worker=WORKERS)
    def renew(self, worker: str) -> None:
        """A worker whose lease ran out but whom nobody has replaced yet is alive again."""
        latest = list({job.id: job for job in self.held[worker]}.values())
        with self.db.transaction() as connection:
            news = ledger.renew(connection, latest, lease=LEASE)
        assert {held.id: (held.is_ours, held.is_cancelled) for held in news} == {
            job.id: (self.owns(job), self.jobs[job.id].is_cancelled) for job in latest
        }
        for job in latest:
            if self.owns(job):
                self.jobs[job.id].is_dead = False

    @precondition(lambda self: any(self.held.values()))
    @rule(data=st.data(), outcome=OUTCOMES)
    def finish(self, data: st.DataObject, outcome: Outcome[Any]) -> None:
        """Some worker finishes something it claimed at some time, whether or not it is still its own, or long done."""
        job = data.draw(st.sampled_from([job for held in self.held.values() for job in held]))
        last = last_word(job, outcome)
        with self.db.transaction() as connection:
            written = ledger.finish(connection, [(job, judge(job, last))])
        assert written == ({job.id} if self.owns(job) else set())
        if not written:
            return
        assert (job.id, job.fence) not in self.finished_fences, "one claim was finished twice"
        self.finished_fences.add((job.id, job.fence))
        expected = self.jobs[job.id]
        match last:
            case Done():
                expected.state = "done"
            case Retry(after=after):
                expected.state, expected.attempt, expected.is_due = "ready", expected.attempt + 1, not after
            case Snooze(after=after):
                expected.state, expected.is_due = "ready", not after
            case GiveUp():
                expected.state, expected.attempt = "failed", expected.attempt + 1
            case Expired():
                expected.state = "expired"
            case Cancelled():
                expected.state = "cancelled"
        expected.owner, expected.is_hinted, expected.is_dead = None, False, False

    @precondition(lambda self: any(job.state == "running" for job in self.jobs.values()))
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        """Some worker that has jobs is not heard of until its leases run out. It may come back."""
        owners = sorted({job.owner for job in self.jobs.values() if job.owner is not None})
        worker = data.draw(st.sampled_from(owners))
        change(self.db, "lease_until = now() - interval '1 second' WHERE leased_by = :worker", worker=worker)
        for expected in self.jobs.values():
            expected.is_dead = expected.is_dead or expected.owner == worker

    @precondition(lambda self: any(job.state == "running" for job in self.jobs.values()))
    @rule()
    def rescue(self) -> None:
        with self.db.transaction() as connection:
            rescued = ledger.rescue(connection, limit=100)
        dead = {job_id: expected for job_id, expected in self.jobs.items() if expected.is_dead}
        assert rescued == len(dead)
        for job_id, expected in dead.items():
            expected.crashes += 1
            expected.is_dead, expected.owner, expected.is_due = False, None, expected.crashes == 1
            expected.state = "failed" if expected.crashes >= ledger.DEATHS_BEFORE_BURIAL else "ready"
            if expected.crashes > 1:
                self.put_off(job_id)

    def put_off(self, job_id: UUID) -> None:
        """Half a minute of chance is no matter for a model: the job is due when time passes."""
        with self.db.transaction() as connection:
            wait = connection.execute(
                text("SELECT extract(epoch FROM run_at - now()) FROM job WHERE id = :id"), {"id": job_id}
            ).scalar_one()
        assert wait <= 30
        change(self.db, "run_at = now() + :later WHERE id = :id", id=job_id, later=LATER)

    @rule(limit=st.sampled_from([1, 2, 100]))
    def pick(self, limit: int) -> None:
        with self.db.transaction() as connection:
            due = ledger.pick(
                connection, TEST_KIND.queue, limit=limit, settled_for=timedelta(0), lost_after=timedelta(minutes=1)
            )
        free = {job_id for job_id, expected in self.jobs.items() if expected.may_begin and not expected.is_hinted}
        picked = {job.id for job in due}
        assert picked <= free
        assert len(due) == len(picked) == min(limit, len(free))
        for job_id in picked:
            self.jobs[job_id].is_hinted = True

    @rule(which=SOME)
    def give_back(self, which: list[int]) -> None:
        ids = self.some(which)
        with self.db.transaction() as connection:
            ledger.give_back(connection, ids)
        for job_id in ids:
            self.jobs[job_id].is_hinted = False

    @rule(which=SOME)
    def request_cancel(self, which: list[int]) -> None:
        (job_id, *_) = self.some(which)
        expected = self.jobs[job_id]
        with self.db.transaction() as connection:
            alive = ledger.request_cancel(connection, job_id)
        assert alive is (expected.state not in TERMINAL)
        if alive and not expected.is_cancelled:
            expected.is_cancelled, expected.is_hinted = True, False

    @precondition(lambda self: any(job.state in REOPENABLE for job in self.jobs.values()))
    @rule(which=SOME)
    def reopen(self, which: list[int]) -> None:
        """An operator has it done again. Whoever still believes in an old claim must not profit."""
        ids = self.some(which)
        with self.db.transaction() as connection:
            rows = connection.execute(
                text("SELECT job_id FROM reopen_jobs(CAST(:ids AS uuid[]), 'an operator')"), {"ids": ids}
            )
            reopened = set(rows.scalars())
        assert reopened == {job_id for job_id in ids if self.jobs[job_id].state in REOPENABLE}
        for job_id in reopened:
            self.jobs[job_id] = Expected(fence=self.jobs[job_id].fence)

    @precondition(lambda self: any(not job.is_due for job in self.jobs.values()))
    @rule()
    def time_passes(self) -> None:
        change(self.db, "run_at = now() WHERE state = 'ready' AND run_at > now()")
        for expected in self.jobs.values():
            expected.is_due = expected.is_due or expected.state == "ready"

    @invariant()
    def the_rows_are_as_expected(self) -> None:
        with self.db.transaction() as connection:
            rows = {row.id: row for row in connection.execute(text("SELECT *, now() AS now FROM job"))}
        assert rows.keys() == self.jobs.keys()
        for job_id, row in rows.items():
            expected = self.jobs[job_id]
            assert (row.state, row.fence, row.attempt, row.crashes) == (
                expected.state,
                expected.fence,
                expected.attempt,
                expected.crashes,
            )
            assert row.leased_by == expected.owner
            assert (row.hinted_at is not None) is expected.is_hinted
            assert (row.cancel_requested_at is not None) is expected.is_cancelled
            assert (row.finished_at is not None) is (row.state in TERMINAL)
            assert (row.lease_until is not None) is (row.state == "running")
            assert row.state != "ready" or (row.run_at <= row.now) is expected.is_due
            assert row.attempt <= row.max_attempts
            if (before := self.seen.get(job_id)) is not None:
                self.only_moves_along_the_edges(before, row)
        self.seen = rows

    def only_moves_along_the_edges(self, before: Any, row: Any) -> None:
        counted = (row.attempt - before.attempt, row.crashes - before.crashes)
        if before.state in TERMINAL and row.state == before.state:
            assert row[:-1] == before[:-1], "what is over changes no more"
        elif before.state in REOPENABLE:
            assert (row.state, row.attempt, row.crashes, row.fence) == ("ready", 0, 0, before.fence)
        else:
            assert row.state == before.state or row.state in EDGES[before.state]
            assert row.fence - before.fence == (before.state == "ready" and row.state == "running")
            assert counted in ((0, 0), (1, 0), (0, 1)), "errors and deaths are counted apart"


def histories_on(db: Database) -> type[LedgerMachine]:
    return type("LedgerMachineOnDatabase", (LedgerMachine,), {"db": db})


HISTORIES = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def test_no_history_gives_a_job_two_owners(db: Database) -> None:
    run_state_machine_as_test(histories_on(db), settings=HISTORIES)


BROKEN = {
    "a finish by whoever comes": ("_FINISH", "AND job.fence = verdict.fence ", ""),
    "a finish of what is over": ("_FINISH", "AND job.state = 'running'", ""),
    "a claim of what is taken": ("_CLAIM", "AND state = 'ready'", "AND state IN ('ready', 'running')"),
    "a claim of what is not due": ("_CLAIM", "run_at <= now()", "true"),
    "a claim that keeps its fence": ("_CLAIM", "fence = fence + 1", "fence = fence + 0"),
    "a hint that survives its claim": ("_CLAIM", "hinted_at = NULL, waiting_for", "waiting_for"),
    "a renewal for whoever asks": (
        "_RENEW",
        "coalesce(job.state = 'running' AND job.fence = ours.fence, false)",
        "true",
    ),
    "a rescue of the living": ("_RESCUE", "AND lease_until < now()", ""),
    "a death that burns an attempt": ("_RESCUE", "crashes = crashes + 1,", "attempt = attempt + 1,"),
    "a pick of what was hinted": ("_PICK", "hinted_at < now() - :lost_after", "hinted_at < now()"),
}
"""What is broken: in which statement, what stands there, and what stands there then."""


@pytest.fixture
def broken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    name, right, wrong = BROKEN[request.param]
    statement: TextClause = getattr(ledger, name)
    assert right in statement.text, "the ledger reads differently now: break it in another way"
    monkeypatch.setattr(ledger, name, text(statement.text.replace(right, wrong)))


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("broken", BROKEN, indirect=True)
def test_the_model_catches_a_ledger_that_allows(db: Database) -> None:
    quickly = settings(HISTORIES, max_examples=300, derandomize=True, database=None, phases=[Phase.generate])
    with pytest.raises(AssertionError):
        run_state_machine_as_test(histories_on(db), settings=quickly)


def test_a_job_that_was_buried_said_it_waited_for_a_worker(db: Database) -> None:
    (job_id,) = ask(db)
    change(db, "crashes = :deaths", deaths=ledger.DEATHS_BEFORE_BURIAL - 1)
    with db.transaction() as connection:
        assert ledger.claim(connection, [job_id], owner="ada", lease=LEASE)
    change(db, "lease_until = now() - interval '1 second'")
    with db.transaction() as connection:
        assert ledger.rescue(connection, limit=1) == 1
        row = connection.execute(text("SELECT state, waiting_for FROM job")).one()
        next_run_at = connection.execute(text("SELECT next_run_at FROM job_event WHERE event = 'crashed'")).scalar_one()
    assert (row.state, row.waiting_for, next_run_at) == ("failed", None, None)
