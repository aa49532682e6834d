"""The ledger against a model of it: workers claim, finish, die, come back, and no job ever has two owners.

Hypothesis makes up the histories and shortens those that go wrong: of jobs alone and in batches, with operators who
pause, resume, cancel, retry and replay. The model is a few plain objects; the ledger is the real one. Time is virtual:
it passes by moving every moment in the tables back. That the model can tell right from wrong is shown on ledgers that
were broken on purpose.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import timedelta
from types import ModuleType
from typing import Any
from uuid import UUID

import psycopg
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

from models.vocabularies import OnFailure
from tests.conftest import DatabaseUrls
from tests.worker.asking import ask, change
from tests.worker.kinds import TEST_KIND
from worker import batch, ledger, pauses, window
from worker.batch import Callback, enqueue_batch
from worker.database import Database
from worker.enqueue import enqueue
from worker.errors import BadRequest
from worker.job import Job
from worker.operating import control
from worker.operating.control import Failed
from worker.outcomes import Cancelled, Done, Expired, GiveUp, Outcome, Retry, Snooze
from worker.pauses import Scope
from worker.verdict import judge, last_word

LEASE = timedelta(minutes=10)
LATER = timedelta(hours=1)
NEVER = timedelta.max
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
        Snooze("outage", timedelta(0), given_back=2),
        GiveUp("no"),
        Expired(),
        Cancelled(),
    ]
)
SOME = st.lists(st.integers(0, 20), min_size=1, max_size=4)
"""Which of a list to take, whatever its length."""

TENANTS = st.sampled_from(["system", "other"])
RESOURCES = st.sampled_from([None, "DCS"])
SCOPES = st.sampled_from(
    [
        Scope(queue=TEST_KIND.queue),
        Scope(kind=TEST_KIND.name),
        Scope(tenant="other"),
        Scope(resource="DCS"),
        Scope(tenant="system", resource="DCS"),
    ]
)


@dataclass
class Batch:
    """What the model knows of one batch: its jobs of each step, and the step at work."""

    steps: list[list[UUID]]
    on_failure: OnFailure
    step: int = 1
    is_over: bool = False
    is_cancelled: bool = False
    callback: UUID | None = None


@dataclass
class Expected:
    """What the model knows of one job. Moments are virtual ones, since the beginning of the history."""

    tenant: str = "system"
    resource: str | None = None
    batch: Batch | None = None
    step: int = 0
    state: str = "ready"
    fence: int = 0
    attempt: int = 0
    crashes: int = 0
    owner: str | None = None
    run_at: timedelta = timedelta(0)
    lease_until: timedelta = timedelta(0)
    is_hinted: bool = False
    is_cancelled: bool = False
    error_code: str | None = None


class LedgerMachine(RuleBasedStateMachine):
    """Histories of jobs. `held` are the claims each worker believes in, also those it has lost."""

    db: Database

    def __init__(self) -> None:
        super().__init__()
        self.now = timedelta(0)
        self.jobs: dict[UUID, Expected] = {}
        self.batches: dict[UUID, Batch] = {}
        self.paused: dict[Scope, timedelta] = {}
        self.held: dict[str, list[Job]] = {"ada": [], "bob": [], "cleo": []}
        self.finished_fences: set[tuple[UUID, int]] = set()
        self.seen: dict[UUID, Any] = {}
        with self.db.transaction() as connection:
            connection.execute(text("DELETE FROM job; DELETE FROM job_batch; DELETE FROM job_pause"))

    def some(self, which: list[int]) -> list[UUID]:
        """Jobs by their turn, some of them twice."""
        ids = list(self.jobs)
        return [ids[number % len(ids)] for number in which]

    def owns(self, job: Job) -> bool:
        expected = self.jobs[job.id]
        return expected.state == "running" and expected.fence == job.fence

    def is_paused(self, expected: Expected) -> bool:
        """A job that has to end does so, paused or not."""
        facts = {
            "queue": TEST_KIND.queue, "kind": TEST_KIND.name, "tenant": expected.tenant, "resource": expected.resource,
        }  # fmt: skip
        return not expected.is_cancelled and any(
            until > self.now and all(value in (None, facts[name]) for name, value in asdict(scope).items())
            for scope, until in self.paused.items()
        )

    def is_free(self, expected: Expected) -> bool:
        """A cancelled job is claimed before its time, to be ended."""
        return expected.state == "ready" and (expected.run_at <= self.now or expected.is_cancelled)

    def may_begin(self, expected: Expected) -> bool:
        return self.is_free(expected) and not self.is_paused(expected)

    def is_dead(self, expected: Expected) -> bool:
        return expected.state == "running" and expected.lease_until <= self.now

    @initialize(count=st.integers(1, 3), on_failure=st.sampled_from(["continue", "stop"]))
    def first_jobs(self, count: int, on_failure: OnFailure) -> None:
        self.ask(count, "system", "DCS")
        self.ask_for_a_batch([1, 1], on_failure)

    @precondition(lambda self: len(self.jobs) < 8)
    @rule(count=st.integers(1, 2), tenant=TENANTS, resource=RESOURCES)
    def ask(self, count: int, tenant: str, resource: str | None) -> None:
        ids = ask(self.db, count, tenant=tenant)
        change(self.db, "resource = :resource WHERE id = ANY(:ids)", resource=resource, ids=ids)
        self.jobs |= {job_id: Expected(tenant, resource, run_at=self.now) for job_id in ids}

    @precondition(lambda self: len(self.jobs) < 8)
    @rule(sizes=st.lists(st.integers(0, 2), min_size=1, max_size=3), on_failure=st.sampled_from(["continue", "stop"]))
    def ask_for_a_batch(self, sizes: list[int], on_failure: OnFailure) -> None:
        with self.db.transaction() as connection:
            steps = [[enqueue(connection, TEST_KIND).job_id for _ in range(size)] for size in sizes]
            batch_id = enqueue_batch(
                connection, steps, name="test", callback=Callback(TEST_KIND), on_failure=on_failure
            ).batch_id
        made = self.batches[batch_id] = Batch(steps, on_failure, step=0)
        for step, ids in enumerate(steps, 1):
            self.jobs |= {job_id: Expected(batch=made, step=step, run_at=NEVER) for job_id in ids}
        self.settle(made)

    def settle(self, batch: Batch) -> None:
        """What has to come of a batch now that something of it is over."""
        if batch.is_over:
            return
        states = [[self.jobs[job_id] for job_id in ids] for ids in batch.steps]
        is_open = [any(job.state not in TERMINAL for job in step) for step in states]
        if not any(is_open):
            batch.is_over = True
            return
        now_at = is_open.index(True) + 1
        if now_at <= batch.step:
            return
        is_stopped = batch.on_failure == "stop" and any(
            job.state != "done" for step in states[: now_at - 1] for job in step
        )
        batch.step = now_at
        if is_stopped:
            self.ask_all_to_stop(batch)
            return
        for job in states[now_at - 1]:
            if job.state == "ready":
                job.run_at = self.now

    def ask_all_to_stop(self, batch: Batch) -> int:
        asked = 0
        for job in (self.jobs[job_id] for ids in batch.steps for job_id in ids):
            if job.state not in TERMINAL and not job.is_cancelled:
                job.is_cancelled, job.is_hinted = True, False
                asked += 1
        return asked

    @rule(worker=WORKERS, which=SOME)
    def begin(self, worker: str, which: list[int]) -> None:
        self.claim(worker, which)

    def claim(self, worker: str, which: list[int]) -> None:
        ids = self.some(which)
        with self.db.transaction() as connection:
            claimed = ledger.claim(connection, ids, owner=worker, lease=LEASE)
        beginning = {job_id for job_id in ids if self.may_begin(self.jobs[job_id])}
        assert sorted(job.id for job in claimed) == sorted(beginning)
        for job_id in ids:
            if self.is_free(self.jobs[job_id]) and self.is_paused(self.jobs[job_id]):
                self.jobs[job_id].is_hinted = False
        for job in claimed:
            expected = self.jobs[job.id]
            assert job.fence == expected.fence + 1
            assert (job.attempt, job.crashes, job.is_cancelled) == (
                expected.attempt,
                expected.crashes,
                expected.is_cancelled,
            )
            expected.state, expected.fence, expected.owner = "running", job.fence, worker
            expected.is_hinted, expected.lease_until = False, self.now + LEASE
        order = list(self.jobs)  # the rows come in any order, and the same history must be the same each time
        self.held[worker] += sorted(claimed, key=lambda job: order.index(job.id))

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
                self.jobs[job.id].lease_until = self.now + LEASE

    @precondition(lambda self: any(self.held.values()))
    @rule(data=st.data(), outcome=OUTCOMES)
    def finish(self, data: st.DataObject, outcome: Outcome[Any]) -> None:
        """Some worker finishes some of what it claimed at some time, whether or not it is its own yet, or long done."""
        worker = data.draw(st.sampled_from([worker for worker, held in self.held.items() if held]))
        jobs = data.draw(st.lists(st.sampled_from(self.held[worker]), min_size=1, max_size=3, unique_by=lambda j: j.id))
        self.finish_these(jobs, outcome)

    @rule(worker=WORKERS, outcome=st.sampled_from([Done(None), GiveUp("no"), Cancelled()]))
    def work(self, worker: str, outcome: Outcome[Any]) -> None:
        """All there is to do is done at once: batches get to their ends in short histories, too."""
        before = len(self.held[worker])
        self.claim(worker, list(range(len(self.jobs))))
        if claimed := self.held[worker][before:]:
            self.the_rows_are_as_expected()
            self.finish_these(claimed, outcome)

    def finish_these(self, jobs: list[Job], outcome: Outcome[Any]) -> None:
        runs = [(job, last_word(job, outcome)) for job in jobs]
        with self.db.transaction() as connection:
            written = ledger.finish(connection, [(job, judge(job, last)) for job, last in runs])
        assert written == {job.id for job in jobs if self.owns(job)}
        for job, last in runs:
            if job.id in written:
                assert (job.id, job.fence) not in self.finished_fences, "one claim was finished twice"
                self.finished_fences.add((job.id, job.fence))
                self.end(self.jobs[job.id], last)
        self.settle_those_of(written)

    def end(self, expected: Expected, last: Outcome[Any]) -> None:
        match last:
            case Done():
                expected.state, expected.error_code = "done", None
            case Retry(code=code, after=after):
                expected.state, expected.attempt, expected.run_at = "ready", expected.attempt + 1, self.now + after
                expected.error_code = code
            case Snooze(reason=reason, after=after, given_back=given_back):
                expected.state, expected.run_at, expected.error_code = "ready", self.now + after, reason
                expected.attempt = max(0, expected.attempt - given_back)
            case GiveUp(code=code):
                expected.state, expected.attempt, expected.error_code = "failed", expected.attempt + 1, code
            case Expired():
                expected.state = "expired"
            case Cancelled():
                expected.state = "cancelled"
        expected.owner, expected.is_hinted = None, False

    def settle_those_of(self, job_ids: Iterable[UUID]) -> None:
        for each in self.batches.values():
            if any(self.jobs[job_id].batch is each and self.jobs[job_id].state in TERMINAL for job_id in job_ids):
                self.settle(each)

    @precondition(lambda self: any(self.is_dead(job) for job in self.jobs.values()))
    @rule()
    def rescue(self) -> None:
        with self.db.transaction() as connection:
            rescued = ledger.rescue(connection, limit=100)
        dead = {job_id: expected for job_id, expected in self.jobs.items() if self.is_dead(expected)}
        assert rescued == len(dead)
        for job_id, expected in dead.items():
            expected.crashes += 1
            expected.owner, expected.run_at, expected.error_code = None, self.now, "worker_died"
            expected.state = "ready"
            if expected.crashes >= ledger.DEATHS_BEFORE_BURIAL:
                expected.state = "failed"
            elif expected.crashes > 1:
                expected.run_at += LATER
                self.put_off(job_id)
        self.settle_those_of(dead)

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
            due = window.pick(
                connection, TEST_KIND.queue, limit=limit, settled_for=timedelta(0), lost_after=timedelta(days=1)
            )
        free = {job_id for job_id, job in self.jobs.items() if self.may_begin(job) and not job.is_hinted}
        picked = {job.id for job in due}
        assert picked <= free
        assert len(due) == len(picked) == min(limit, len(free))
        for job_id in picked:
            self.jobs[job_id].is_hinted = True

    @rule(which=SOME)
    def give_back(self, which: list[int]) -> None:
        ids = self.some(which)
        with self.db.transaction() as connection:
            window.give_back(connection, ids)
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

    @precondition(lambda self: any(not each.is_over for each in self.batches.values()))
    @rule(data=st.data())
    def cancel_a_batch(self, data: st.DataObject) -> None:
        batch_id = data.draw(st.sampled_from([key for key, each in self.batches.items() if not each.is_over]))
        with self.db.transaction() as connection:
            asked = batch.cancel(connection, batch_id, "an operator")
        assert asked == self.ask_all_to_stop(self.batches[batch_id])
        self.batches[batch_id].is_cancelled = True

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
        self.begin_anew(reopened)

    @precondition(lambda self: any(job.state == "failed" for job in self.jobs.values()))
    @rule(
        tenant=st.sampled_from([None, "system", "other"]),
        error_code=st.sampled_from([None, "no", "worker_died"]),
        dry_run=st.booleans(),
    )
    def replay(self, tenant: str | None, error_code: str | None, dry_run: bool) -> None:
        """The dry run says what the real one does, and does nothing."""
        with self.db.transaction() as connection:
            failed = Failed(kind=TEST_KIND.name, tenant=tenant, error_code=error_code)
            replayed = control.replay(connection, failed, "an operator", dry_run=dry_run)
        meant = [
            job_id
            for job_id, job in self.jobs.items()
            if job.state == "failed"
            and job.tenant == (tenant or job.tenant)
            and (job.error_code == error_code if error_code else job.error_code != "worker_died")
        ]
        assert (replayed.matching, replayed.jobs) == (len(meant), len(meant))
        if not dry_run:
            self.begin_anew(meant)

    def begin_anew(self, job_ids: Iterable[UUID]) -> None:
        for job_id in job_ids:
            job = self.jobs[job_id]
            is_held = job.batch is not None and not job.batch.is_over and job.step > job.batch.step
            self.jobs[job_id] = Expected(
                job.tenant, job.resource, job.batch, job.step,
                fence=job.fence, error_code=job.error_code, run_at=NEVER if is_held else self.now,
            )  # fmt: skip

    @rule(scope=SCOPES, length=st.sampled_from([None, LATER]))
    def pause(self, scope: Scope, length: timedelta | None) -> None:
        with self.db.transaction() as connection:
            end = connection.execute(text("SELECT now() + CAST(:length AS interval)"), {"length": length}).scalar_one()
            pauses.pause(connection, scope, "an operator", "to see what happens", end)
        self.paused[scope] = NEVER if length is None else self.now + length

    @precondition(lambda self: any(until > self.now for until in self.paused.values()))
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        scope = data.draw(st.sampled_from([scope for scope, until in self.paused.items() if until > self.now]))
        with self.db.transaction() as connection:
            pauses.resume(connection, scope, "an operator")
        del self.paused[scope]

    @rule(length=st.sampled_from([LEASE / 2, LEASE, LATER]))
    def time_passes(self, length: timedelta) -> None:
        """Whoever is not heard of until its leases run out may still come back."""
        with self.db.transaction() as connection:
            connection.execute(_PASS, {"length": length})
            connection.execute(text("UPDATE job_pause SET until = until - :length"), {"length": length})
        self.now += length
        self.seen = {}

    @invariant()
    def the_rows_are_as_expected(self) -> None:
        with self.db.transaction() as connection:
            rows = {row.id: row for row in connection.execute(text("SELECT *, now() AS now FROM job"))}
            batches = {row.id: row for row in connection.execute(text("SELECT * FROM job_batch"))}
        self.batches_are_as_expected(batches)
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
            assert row.state != "ready" or (row.run_at <= row.now) is (expected.run_at <= self.now)
            assert row.attempt <= row.max_attempts
            if (before := self.seen.get(job_id)) is not None:
                self.only_moves_along_the_edges(before, row)
        self.seen = rows

    def batches_are_as_expected(self, rows: dict[UUID, Any]) -> None:
        """And whoever is called back is a job like any other from then on."""
        assert rows.keys() == self.batches.keys()
        for batch_id, expected in self.batches.items():
            row = rows[batch_id]
            assert (row.finished_at is not None) is expected.is_over
            assert expected.is_over or row.step == expected.step
            assert (row.callback_job_id is not None) is (expected.is_over and not expected.is_cancelled)
            if expected.callback is None and row.callback_job_id is not None:
                expected.callback = row.callback_job_id
                self.jobs[row.callback_job_id] = Expected(run_at=self.now)
            assert row.callback_job_id == expected.callback, "called back twice"

    def only_moves_along_the_edges(self, before: Any, row: Any) -> None:
        counted = (row.attempt - before.attempt, row.crashes - before.crashes)
        if before.state in TERMINAL and row.state == before.state:
            assert row[:-1] == before[:-1], "what is over changes no more"
        elif before.state in REOPENABLE:
            assert (row.state, row.attempt, row.crashes, row.fence) == ("ready", 0, 0, before.fence)
        else:
            assert row.state == before.state or row.state in EDGES[before.state]
            assert row.fence - before.fence == (before.state == "ready" and row.state == "running")
            is_given_back = row.error_code == "outage" and counted[0] in (-1, -2) and counted[1] == 0
            assert counted in ((0, 0), (1, 0), (0, 1)) or is_given_back, "errors and deaths are counted apart"


_PASS = text(
    """
    UPDATE job SET
        run_at = CASE WHEN run_at > '9000-01-01' THEN run_at ELSE run_at - :length END,
        lease_until = lease_until - :length, hinted_at = hinted_at - :length, created_at = created_at - :length,
        started_at = started_at - :length, finished_at = finished_at - :length
    """
)


RULES = (
    "begin", "renew", "finish", "work", "rescue", "pick", "give_back", "request_cancel", "cancel_a_batch", "reopen",
    "replay", "pause", "resume", "time_passes",
)  # fmt: skip
"""What may happen beside asking."""


def histories_on(db: Database, *rules: str) -> type[LedgerMachine]:
    """Histories in which these may happen; without any, all."""
    never = dict.fromkeys(set(RULES) - set(rules or RULES))
    return type("LedgerMachineOnDatabase", (LedgerMachine,), {"db": db, **never})


HISTORIES = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
QUICKLY = settings(HISTORIES, max_examples=300, derandomize=True, database=None, phases=[Phase.generate])
"""Up to the first that goes wrong, which nobody reads."""


@pytest.fixture
def soon_buried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five deaths of one job are too rare in a history."""
    monkeypatch.setattr(ledger, "DEATHS_BEFORE_BURIAL", 2)


@pytest.mark.usefixtures("soon_buried")
def test_no_history_gives_a_job_two_owners(db: Database) -> None:
    run_state_machine_as_test(histories_on(db), settings=HISTORIES)


BROKEN: dict[str, tuple[ModuleType, str, str, str, str]] = {
    "a finish by whoever comes": (
        ledger, "_FINISH", "AND job.fence = verdict.fence ", "", "begin finish time_passes rescue",
    ),
    "a finish of what is over": (ledger, "_FINISH", "AND job.state || '' = 'running'", "", "begin finish"),
    "a claim of what is taken": (
        ledger, "_CLAIM", f"AND {ledger.READY}", "AND state IN ('ready', 'running')", "begin",
    ),
    "a claim of what is not due": (ledger, "_CLAIM", "run_at <= now()", "true", "begin finish"),
    "a claim of what is paused": (ledger, "_CLAIM", "AND NOT free.is_paused", "", "begin pause"),
    "a claim that keeps its fence": (ledger, "_CLAIM", "fence = fence + 1", "fence = fence + 0", "work"),
    "a hint that survives its claim": (ledger, "_CLAIM", "hinted_at = NULL, waiting_for", "waiting_for", "begin pick"),
    "a hint that survives a pause": (
        ledger, "_CLAIM", "free.is_paused AND job.hinted_at IS NOT NULL", "false", "begin pick pause",
    ),
    "a renewal for whoever asks": (
        ledger, "_RENEW", "coalesce(job.state = 'running' AND job.fence = ours.fence, false)", "true",
        "begin finish renew",
    ),
    "a rescue of the living": (ledger, "_RESCUE", "AND lease_until < now()", "", "begin time_passes rescue"),
    "a death that burns an attempt": (
        ledger, "_RESCUE", "crashes = crashes + 1,", "attempt = attempt + 1,", "begin time_passes rescue",
    ),
    "a pick of what was hinted": (window, "_PICK", "hinted_at < now() - :lost_after", "hinted_at < now()", "pick"),
    "a pick of what is paused": (window, "_PICK", "WHERE NOT EXISTS", "WHERE true OR NOT EXISTS", "pick pause"),
    "a resume of more than was meant": (
        pauses, "_RESUME", "tenant IS NOT DISTINCT FROM :tenant", "coalesce(CAST(:tenant AS text), '') IS NOT NULL",
        "pause resume pick",
    ),
    "an end that its batch does not hear of": (batch, "_SETTLE", "settle_batches(", "cardinality(", "work"),
}  # fmt: skip
"""What is broken: in which statement, what stands there, what stands there then, and which rules come upon it."""


@pytest.mark.usefixtures("soon_buried")
@pytest.mark.parametrize("name", BROKEN)
def test_the_model_catches_a_ledger_that_allows(db: Database, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    module, statement, right, wrong, rules = BROKEN[name]
    sql: TextClause = getattr(module, statement)
    assert right in sql.text, "the ledger reads differently now: break it in another way"
    monkeypatch.setattr(module, statement, text(sql.text.replace(right, wrong)))
    with pytest.raises((AssertionError, BadRequest)):
        run_state_machine_as_test(histories_on(db, *rules.split()), settings=QUICKLY)


BROKEN_FUNCTIONS = {
    "a step that begins too early": ("settle_batches", "min(step) INTO", "max(step) INTO", "begin finish"),
    "a failure that stops nobody": ("settle_batches", "batch.on_failure = 'stop'", "false", "work"),
    "a callback for a cancelled batch": (
        "settle_batches", "AND batch.cancel_requested_at IS NULL", "", "work cancel_a_batch",
    ),
    "a second callback": ("settle_batches", "AND finished_at IS NULL", "", "work reopen"),
    "a job done again although it is done": (
        "reopen_jobs", "'failed', 'cancelled', 'expired'", "'failed', 'done'", "work reopen",
    ),
    "a batch that starts all at once": ("try_enqueue_batch", "member.step > batch.step", "false", "work"),
}  # fmt: skip


@pytest.mark.usefixtures("soon_buried")
@pytest.mark.parametrize("name", BROKEN_FUNCTIONS)
def test_the_model_catches_a_database_that_allows(db: Database, database: DatabaseUrls, name: str) -> None:
    function, right, wrong, rules = BROKEN_FUNCTIONS[name]
    with psycopg.connect(database.owner_url) as owner:
        (definition,) = owner.execute("SELECT pg_get_functiondef(%s::regproc)", [function]).fetchone() or ("",)
        assert right in definition, "the function reads differently now: break it in another way"
        owner.execute(definition.replace(right, wrong).encode())
    with pytest.raises((AssertionError, BadRequest)):
        run_state_machine_as_test(histories_on(db, *rules.split()), settings=QUICKLY)


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
