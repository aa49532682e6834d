"""Pauses: what they hold back, what they let through, that they end, and that they cost next to nothing."""

import json
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import redis
from sqlalchemy import Connection, text

from tests.waiting import in_thread, until
from tests.worker.asking import ask, change, job
from tests.worker.kinds import TEST_KIND
from worker import ledger, pauses, window
from worker.database import Database
from worker.errors import BadRequest
from worker.hints import Hints
from worker.job import Job
from worker.pauses import Scope
from worker.process.dispatcher import Dispatcher
from worker.process.engine import Engine
from worker.settings import Settings

PICK: dict[str, Any] = {
    "queue": "verification",
    "limit": 100,
    "settled_for": timedelta(0),
    "lost_after": timedelta(seconds=60),
}


def pause(db: Database, scope: Scope, until: datetime | None = None) -> int:
    with db.transaction() as connection:
        return pauses.pause(connection, scope, "olga", "the provider asked for it", until)


def resume(db: Database, scope: Scope) -> None:
    with db.transaction() as connection:
        pauses.resume(connection, scope, "olga")


def claim(db: Database, *ids: UUID) -> list[Job]:
    with db.transaction() as connection:
        return ledger.claim(connection, ids, owner="me", lease=timedelta(seconds=30))


def pick(db: Database) -> list[UUID]:
    with db.transaction() as connection:
        return [due.id for due in window.pick(connection, **PICK)]


@pytest.mark.parametrize(
    ("scope", "held"),
    [
        (Scope(queue="verification"), {"plain", "other tenant", "other resource", "no resource", "other kind"}),
        (Scope(tenant="t1"), {"plain", "other resource", "no resource", "other kind"}),
        (Scope(kind="test.run"), {"plain", "other tenant", "other resource", "no resource"}),
        (Scope(resource="DCS"), {"plain", "other tenant", "other kind"}),
        (Scope(tenant="t1", resource="DCS"), {"plain", "other kind"}),
        (Scope(queue="verification", kind="test.run", tenant="t1", resource="DCS"), {"plain"}),
        (Scope(queue="maintenance"), set()),
        (Scope(tenant="t"), set()),
    ],
    ids=lambda value: str(value) if isinstance(value, Scope) else "",  # a set has no order
)
def test_a_scope_holds_back_what_matches_all_it_names(db: Database, scope: Scope, held: set[str]) -> None:
    jobs = {
        "plain": ("test.run", "t1", "DCS"),
        "other tenant": ("test.run", "t2", "DCS"),
        "other resource": ("test.run", "t1", "ELSE"),
        "no resource": ("test.run", "t1", None),
        "other kind": ("test.other", "t1", "DCS"),
    }
    ids = {}
    for name, (kind, tenant, resource) in jobs.items():
        (ids[name],) = ask(db)
        change(
            db,
            "kind = :kind, tenant = :tenant, resource = :resource WHERE id = :id",
            id=ids[name],
            kind=kind,
            tenant=tenant,
            resource=resource,
        )
    assert pause(db, scope) == len(held)
    free = {ids[name] for name in jobs.keys() - held}
    assert set(pick(db)) == free
    assert {claimed.id for claimed in claim(db, *ids.values())} == free


def test_a_hint_that_meets_a_pause_is_taken_back_so_the_resumed_job_is_hinted_at_once(db: Database) -> None:
    (job_id,) = ask(db)
    assert pick(db) == [job_id]
    pause(db, Scope(tenant="system"))
    assert claim(db, job_id) == []
    assert job(db, job_id)["hinted_at"] is None
    assert pick(db) == []
    resume(db, Scope(tenant="system"))
    assert pick(db) == [job_id]


def test_what_only_ends_is_let_through(db: Database) -> None:
    cancelled, expired, held = ask(db, 3)
    change(db, "deadline_at = now() - interval '1 second' WHERE id = :id", id=expired)
    change(db, "deadline_at = now() + interval '1 hour' WHERE id = :id", id=held)
    pause(db, Scope(queue="verification"))
    with db.transaction() as connection:
        ledger.request_cancel(connection, cancelled, "olga")
    assert set(pick(db)) == {cancelled, expired}
    claims = {claimed.id: (claimed.is_cancelled, claimed.is_expired) for claimed in claim(db, cancelled, expired, held)}
    assert claims == {cancelled: (True, False), expired: (False, True)}


def test_a_pause_ends_by_itself(db: Database) -> None:
    (job_id,) = ask(db)
    pause(db, Scope(kind="test.run"), datetime.now(UTC) + timedelta(hours=1))
    assert pick(db) == []
    with db.transaction() as connection:
        connection.execute(text("UPDATE job_pause SET until = now() - interval '1 second'"))
    assert pick(db) == [job_id]
    assert len(claim(db, job_id)) == 1
    with pytest.raises(BadRequest) as refusal:
        resume(db, Scope(kind="test.run"))
    assert refusal.value.code == "not_paused"


def test_the_same_scope_again_replaces_and_others_stand_beside_it(db: Database) -> None:
    pause(db, Scope(tenant="t1"))
    pause(db, Scope(tenant="t1", kind="test.run"))
    with db.transaction() as connection:
        pauses.pause(connection, Scope(tenant="t1"), "igor", " another reason ")
        found = {str(p.scope): (p.paused_by, p.reason) for p in pauses.in_force(connection)}
    assert found == {
        "tenant t1": ("igor", "another reason"),
        "kind test.run, tenant t1": ("olga", "the provider asked for it"),
    }
    resume(db, Scope(tenant="t1"))
    with db.transaction() as connection:
        assert [p.scope for p in pauses.in_force(connection)] == [Scope(kind="test.run", tenant="t1")]


def test_who_paused_and_resumed_stays_in_the_audit_trail_and_the_reason_does_not(db: Database) -> None:
    pause(db, Scope(tenant="t1"))
    resume(db, Scope(tenant="t1"))
    with db.transaction() as connection:
        rows = connection.execute(text("SELECT action, details FROM audit_logs ORDER BY created_at")).all()
    assert rows == [("jobs.paused", {"by": "olga", "tenant": "t1"}), ("jobs.resumed", {"by": "olga", "tenant": "t1"})]


@pytest.mark.parametrize(
    ("scope", "reason", "until", "code", "named"),
    [
        (Scope(), "why", None, "no_scope", "queue, kind, tenant or resource"),
        (Scope(tenant=" "), "why", None, "bad_scope", "tenant"),
        (Scope(queue="verificaton"), "why", None, "unknown_queue", "verificaton"),
        (Scope(tenant="t1"), " ", None, "no_reason", "why"),
        (Scope(tenant="t1"), "why", datetime(2020, 1, 1, tzinfo=UTC), "bad_until", "future"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_pause_that_makes_no_sense_is_refused(
    db: Database, scope: Scope, reason: str, until: datetime | None, code: str, named: str
) -> None:
    with db.transaction() as connection:
        with pytest.raises(BadRequest, match=named) as refusal:
            pauses.pause(connection, scope, "olga", reason, until)
        assert refusal.value.code == code
        assert pauses.in_force(connection) == []


def test_resuming_what_is_not_paused_tells_what_is(db: Database) -> None:
    pause(db, Scope(tenant="t1", kind="test.run"))
    with pytest.raises(BadRequest, match=r"no pause of tenant t1; paused are: kind test\.run, tenant t1"):
        resume(db, Scope(tenant="t1"))


@contextmanager
def worker(settings: Settings, db: Database, engine: Engine) -> Iterator[None]:
    """A dispatcher, and a thread that brings its hints to the engine as a Celery worker would."""
    hints = Hints(settings.celery_broker_url)
    dispatcher = Dispatcher(settings, db, hints, engine.room, ["verification"])
    client = redis.Redis.from_url(settings.redis_url.get_secret_value())
    is_over = False

    def bring() -> None:
        while not is_over:
            popped: Any = client.brpop(["verification"], timeout=0.2)
            if popped is not None:
                ids = json.loads(b64decode(json.loads(popped[1])["body"]))[0][0]
                engine.begin(TEST_KIND, [UUID(job_id) for job_id in ids])

    bringing = in_thread(bring)
    dispatcher.start()
    try:
        yield
    finally:
        dispatcher.stop()
        is_over = True
        bringing()
        client.close()
        hints.close()


def test_a_paused_tenant_waits_while_others_run_and_runs_when_resumed(
    settings: Settings, db: Database, engine: Engine
) -> None:
    def state(job_id: UUID) -> str:
        return str(job(db, job_id)["state"])

    pause(db, Scope(tenant="t1"))
    (held,) = ask(db, tenant="t1")
    with worker(settings, db, engine):
        for _ in range(3):  # three fills of the window, each of which could have taken it
            (free,) = ask(db, tenant="t2")
            until(lambda: state(free) == "done")  # noqa: B023 - called within this round
        assert state(held) == "ready"
        resume(db, Scope(tenant="t1"))
        until(lambda: state(held) == "done")


def test_what_runs_is_not_touched(db: Database, engine: Engine) -> None:
    (job_id,) = ask(db, s=0.3)
    assert engine.begin(TEST_KIND, [job_id]).claimed == 1
    pause(db, Scope(queue="verification"))
    engine.drain()
    assert job(db, job_id)["state"] == "done"


def test_claims_and_picks_wait_for_nobody_who_pauses(db: Database) -> None:
    (job_id,) = ask(db)
    with db.transaction() as pausing:
        pauses.pause(pausing, Scope(queue="verification"), "olga", "not committed yet")
        assert pick(db) == [job_id]
        assert len(claim(db, job_id)) == 1


MANY = 50_000


def buffers(connection: Connection, sql: str, values: Mapping[str, object]) -> int:
    """Pages that a statement touched; it is rolled back."""
    plan = connection.execute(text("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + sql), values).scalar_one()[0]["Plan"]
    connection.rollback()
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


@pytest.mark.parametrize(
    ("tenants", "scope"),
    [
        (1, Scope(queue="verification")),
        (1, Scope(kind="test.run")),
        (1, Scope(tenant="t0")),
        (1, Scope(resource="DCS")),
        (1, Scope(tenant="t0", resource="DCS")),
        (100, Scope(queue="verification")),
        (100, Scope(kind="test.run")),
        (100, Scope(resource="DCS")),
    ],
    ids=str,
)
def test_fifty_thousand_paused_jobs_cost_a_pick_nothing_and_hide_nobody(
    db: Database, tenants: int, scope: Scope
) -> None:
    """Pages, not seconds. The paused jobs are older than the others, of the same tenant too."""
    with db.transaction() as connection:
        connection.execute(
            text(
                """
                INSERT INTO job (kind, queue, tenant, resource, run_at)
                SELECT 'test.run', 'verification', 't' || n % :tenants, 'DCS',
                       now() - interval '1 day' + n * interval '1 millisecond'
                FROM generate_series(1, :many) AS n
                """
            ),
            {"many": MANY, "tenants": tenants},
        )
    same, other = ask(db, 3, tenant="t0"), ask(db, 3, tenant="other")
    change(db, "kind = 'test.other' WHERE id = ANY(:ids)", ids=[*same, *other])
    with db.transaction() as connection:
        connection.execute(text("ANALYZE job"))
    pause(db, scope)
    with db.engine.connect() as connection:
        assert buffers(connection, window._PICK.text, PICK) < 200 + 10 * tenants, "a lane costs a few probes"
    match scope:
        case Scope(queue=str()):
            expected = set()
        case Scope(tenant=str(), resource=None):
            expected = set(other)
        case _:
            expected = {*same, *other}
    assert set(pick(db)) == expected
