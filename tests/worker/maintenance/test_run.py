"""Maintenance on a real database: each batch is committed with its progress, or not at all."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Connection, text

from tests.conftest import DatabaseUrls
from tests.waiting import in_thread, until
from tests.worker.asking import change, events, job
from tests.worker.test_audit import trail
from worker.crypto import Keyring
from worker.database import Database
from worker.enqueue import enqueue
from worker.job import Kind, Surroundings
from worker.ledger import Held
from worker.maintenance import kind
from worker.maintenance.kind import Maintenance
from worker.maintenance.order import Order
from worker.maintenance.stages import Batch, Plan, Problem, Tally
from worker.operating import control
from worker.outcomes import Outcome
from worker.process.engine import Engine
from worker.settings import Settings

ROWS = 25


@dataclass
class Pile:
    """A stage that marks rows of `pile`, ten at a time; `at` is called inside the batch of that number."""

    name: str = "pile"
    most: int = 10
    calls: int = 0
    at: dict[int, Callable[[Connection], object]] = field(default_factory=dict)

    refused: Problem | None = None

    def size(self, connection: Connection) -> int | Problem:
        has_written = connection.execute(text("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")).scalar_one()
        assert not has_written, "whoever waits for a row of the plan would wait for this count"
        count = int(connection.execute(text("SELECT count(*) FROM pile WHERE NOT is_done")).scalar_one())
        return self.refused or count

    def batch(self, connection: Connection, after: Any, limit: int) -> Batch:
        self.calls += 1
        ids = list(
            connection.execute(
                text("""
                    UPDATE pile SET is_done = true WHERE id IN (
                        SELECT id FROM pile WHERE NOT is_done AND id > :after ORDER BY id LIMIT :limit
                    ) RETURNING id
                """),
                {"after": after or 0, "limit": limit},
            ).scalars()
        )
        if at := self.at.get(self.calls):
            at(connection)
        return Batch(len(ids), {"marked": len(ids)}, max(ids, default=None))


@dataclass
class Piles:
    """A kind of maintenance over some stages, and shorthand for running it."""

    db: Database
    engine: Engine
    stages: list[Pile] = field(default_factory=lambda: [Pile()])
    problems: list[Problem] = field(default_factory=list)
    time_box: timedelta = timedelta(minutes=1)
    waits_for_disk: bool = True

    @property
    def kind(self) -> Kind:
        async def act(order: Order, resource: Maintenance) -> Outcome[Tally]:
            plan = Plan(self.stages, self.problems, waits_for_disk=self.waits_for_disk)
            return await resource.run(order, lambda connection, _: plan, time_box=self.time_box)

        return Kind(
            "test.mark", "maintenance", act, kind.load, kind.save, 60, opens=kind.opens,
            backoff=lambda _: timedelta(0),
        )  # fmt: skip

    def ask(self, **args: object) -> UUID:
        with self.db.transaction() as connection:
            return enqueue(connection, self.kind, args).job_id

    def begin(self, job_id: UUID) -> None:
        self.engine.begin(self.kind, [job_id])

    def run(self, job_id: UUID | None = None, **args: object) -> dict[str, Any]:
        job_id = job_id or self.ask(**args)
        self.begin(job_id)
        self.engine.drain()
        return job(self.db, job_id)

    def marked(self) -> int:
        with self.db.transaction() as connection:
            return int(connection.execute(text("SELECT count(*) FROM pile WHERE is_done")).scalar_one())


@pytest.fixture
def piles(settings: Settings, db: Database, database: DatabaseUrls) -> Iterator[Piles]:
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        owner.execute("CREATE TABLE pile (id bigint PRIMARY KEY, is_done boolean NOT NULL DEFAULT false)")
        owner.execute("INSERT INTO pile SELECT generate_series(1, %s)", [ROWS])
        owner.execute("GRANT ALL ON pile TO PUBLIC")
    engine = Engine(db, Surroundings(settings, Keyring.of(settings)), on_room=lambda: None)
    yield Piles(db, engine)
    engine.close()


def test_a_run_does_everything_and_tells_what(piles: Piles) -> None:
    done = piles.run()
    assert done["state"] == "done"
    assert (done["progress"]["done"], done["progress"]["total"]) == (ROWS, ROWS)
    assert done["progress"]["counts"] == {"pile": {"marked": ROWS}}
    assert piles.marked() == ROWS
    (row,) = trail(piles.db)
    assert (row["action"], row["resource_id"]) == ("test.mark", str(done["id"]))
    assert (row["details"]["ended"], row["details"]["counts"]) == ("done", {"pile": {"marked": ROWS}})


def test_a_dry_run_tells_the_same_and_changes_nothing(piles: Piles) -> None:
    dry = piles.run(dry_run=True)
    assert (dry["state"], piles.marked()) == ("done", 0)
    real = piles.run()
    assert dry["progress"] == {**real["progress"], "is_dry_run": True}


def test_what_was_committed_before_a_fault_stays_and_the_next_attempt_adds_to_it(piles: Piles) -> None:
    def fail(_: Connection) -> None:
        raise ValueError("a person's name")

    piles.stages[0].at[2] = fail
    failed = piles.run()
    assert (failed["state"], failed["error_code"], piles.marked()) == ("ready", "bug", 10)
    assert failed["progress"]["counts"] == {"pile": {"marked": 10}}
    done = piles.run(failed["id"])
    assert (done["state"], piles.marked()) == ("done", ROWS)
    assert done["progress"]["counts"] == {"pile": {"marked": ROWS}}


def test_a_cancelled_run_ends_with_the_batch_it_is_at(piles: Piles) -> None:
    job_id = piles.ask()

    def cancel(_: Connection) -> None:
        with piles.db.transaction() as connection:
            control.cancel(connection, job_id, "olga")

    piles.stages[0].at[1] = cancel
    assert piles.run(job_id)["state"] == "cancelled"
    assert (piles.stages[0].calls, piles.marked()) == (1, 10)
    assert trail(piles.db)[-1]["details"]["counts"] == {"pile": {"marked": 10}}


def test_a_run_whose_job_went_to_another_worker_changes_nothing_more(piles: Piles) -> None:
    piles.stages[0].at[2] = lambda _: change(piles.db, "fence = fence + 1")
    stolen = piles.run()
    assert (stolen["state"], piles.marked()) == ("running", 10)
    assert stolen["progress"]["done"] == 10


def test_a_run_that_was_cut_off_by_its_engine_changes_nothing_more(piles: Piles) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def wait(_: Connection) -> None:
        reached.set()
        assert go_on.wait(30)

    piles.stages[0].at[2] = wait
    job_id = piles.ask()
    piles.begin(job_id)
    assert reached.wait(30)
    cancelled = Held(job_id, is_ours=True, is_cancelled=True)
    piles.engine.tell([cancelled])  # as a renewal does
    until(lambda: job(piles.db, job_id)["state"] == "cancelled")
    go_on.set()
    until(lambda: is_free(piles.db))
    assert piles.marked() == 10


def is_free(db: Database) -> bool:
    """Whether no run of the kind is at work, not even one that nobody waits for."""
    with db.transaction() as connection:
        lock = text("SELECT pg_try_advisory_xact_lock(hashtextextended('maintenance test.mark', 0))")
        return bool(connection.execute(lock).scalar_one())


def test_a_run_whose_time_is_up_names_what_is_left_and_is_done(piles: Piles) -> None:
    piles.time_box = timedelta(0)
    piles.stages.append(Pile("later"))
    done = piles.run()
    assert (done["state"], done["progress"]["unfinished"]) == ("done", ["pile", "later"])
    assert piles.marked() == 0


def test_a_worker_that_stops_gives_the_run_back(piles: Piles) -> None:
    piles.stages[0].at[1] = lambda _: piles.engine.stop()
    job_id = piles.ask()
    piles.begin(job_id)
    piles.engine.drain()
    waiting = job(piles.db, job_id)
    assert (waiting["state"], waiting["attempt"], waiting["crashes"]) == ("ready", 0, 0)
    assert events(piles.db, job_id) == ["snoozed"]
    assert piles.marked() == 10


def test_a_second_run_of_a_kind_waits(piles: Piles) -> None:
    second = piles.ask()
    piles.stages[0].at[1] = lambda _: in_thread(lambda: piles.begin(second))
    piles.stages[0].at[2] = lambda _: until(lambda: job(piles.db, second)["waiting_for"])
    assert piles.run()["state"] == "done"
    assert job(piles.db, second)["waiting_for"] == "another test.mark"
    change(piles.db, "run_at = now() WHERE state = 'ready'")
    assert piles.run(second)["progress"]["done"] == 0


def test_a_lock_that_others_hold_is_waited_for(piles: Piles) -> None:
    with piles.db.engine.connect() as other:
        other.execute(text("SELECT FROM pile WHERE id = 15 FOR UPDATE"))
        take = text("SELECT FROM pile WHERE id = 15 FOR UPDATE NOWAIT")
        piles.stages[0].at[1] = lambda connection: connection.execute(take)
        piles.stages[0].at[2] = lambda _: other.rollback()
        done = piles.run()
    assert (done["state"], done["progress"]["counts"]) == ("done", {"pile": {"marked": ROWS}})


def test_a_problem_fails_the_job_after_all_else_is_done(piles: Piles) -> None:
    piles.problems.append(Problem("too_much", "policies: half of the table would go."))
    failed = piles.run()
    assert (failed["state"], failed["error_code"], piles.marked()) == ("failed", "too_much", ROWS)
    assert failed["error_message"] == "policies: half of the table would go."
    assert trail(piles.db)[0]["security_alerts"] == ["too_much"]


def test_a_stage_that_refuses_is_left_alone_and_the_others_are_done(piles: Piles) -> None:
    piles.stages.insert(0, Pile("refused", refused=Problem("too_much", "All of it would go.")))
    failed = piles.run()
    assert (failed["state"], failed["error_code"]) == ("failed", "too_much")
    assert [pile.calls for pile in piles.stages] == [0, 4]
    assert failed["progress"]["total"] == ROWS


@pytest.mark.parametrize(("waits", "expected"), [(True, "on"), (False, "off")])
def test_batches_wait_for_the_disk_unless_their_plan_says_otherwise(
    piles: Piles, database: DatabaseUrls, waits: bool, expected: str
) -> None:
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        owner.execute(f"ALTER DATABASE {owner.info.dbname} SET synchronous_commit = 'on'".encode())  # tests have it off
    seen: list[str] = []
    piles.waits_for_disk = waits
    for number in (1, 2):
        piles.stages[0].at[number] = lambda connection: seen.append(
            connection.execute(text("SHOW synchronous_commit")).scalar_one()
        )
    assert piles.run()["state"] == "done"
    assert seen == [expected, expected]
