"""Asking for many at once: the answers and rows of asking one by one, in one transaction and with few messages."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import timedelta
from uuid import uuid4

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from tests.worker.kinds import TEST_KIND
from worker.bulk import Refused, Verification, enqueue_many, enqueue_verifications
from worker.crypto import Keyring
from worker.database import Database, is_undone, sqlstate
from worker.dev.demo.households import add_drivers
from worker.dev.demo.sample import INTEGRATION, configure_sandbox
from worker.dev.sandbox.personas import BY_LICENSE
from worker.enqueue import EnqueuedVerification, enqueue, enqueue_verification
from worker.errors import BadRequest
from worker.settings import Settings

LICENSES = ["TX00000001", "TX00000002"]


@pytest.fixture
def drivers(settings: Settings, db: Database) -> list[int]:
    keyring = Keyring.of(settings)
    with db.transaction() as connection:
        configure_sandbox(connection, keyring, "http://127.0.0.1:9")
        return list(add_drivers(connection, keyring, [BY_LICENSE[number] for number in LICENSES]))


@pytest.fixture
def connection(db: Database) -> Iterator[Connection]:
    """In a transaction that is rolled back."""
    with db.engine.connect() as connection:
        yield connection


def one_by_one(connection: Connection, asked: list[Verification]) -> list[EnqueuedVerification | Refused]:
    results: list[EnqueuedVerification | Refused] = []
    for one in asked:
        try:
            results.append(enqueue_verification(connection, **asdict(one)))
        except BadRequest as error:
            results.append(Refused(error.code, str(error)))
    return results


def job_ids(results: list[EnqueuedVerification | Refused]) -> list[object]:
    return [one if isinstance(one, Refused) else one.job_id for one in results]


def told(results: list[EnqueuedVerification | Refused]) -> list[object]:
    """Results without their ids: which of them are the same job, which is new, which was refused and why."""
    jobs = [None if isinstance(one, Refused) else one.job_id for one in results]
    return [one if isinstance(one, Refused) else (jobs.index(one.job_id), one.is_new) for one in results]


ROWS = text(
    """
    SELECT to_jsonb(job) - 'id' - 'args' - 'created_at' - 'run_at' - 'idempotency_until'
            || jsonb_build_object('deadline_at', job.deadline_at - job.created_at) AS job,
        to_jsonb(request) - 'id' - 'job_id' - 'created_at' - 'updated_at'
            || jsonb_build_object('correlation_id', nullif(request.correlation_id, job.id::text)) AS request
    FROM job JOIN integration_request AS request ON request.job_id = job.id
        AND (job.args ->> 'request_id')::bigint = request.id
    ORDER BY 2, 1
    """
)
"""Every column there is, but for ids; moments are told apart by other tests."""

ANY_VERIFICATION = st.builds(
    Verification,
    integration=st.sampled_from([INTEGRATION] * 5 + ["NOBODY"]),
    driver_id=st.sampled_from([0, 0, 0, 1, 1, 999_999]),
    vehicle_id=st.sampled_from([None] * 6 + [1]),
    search_by=st.sampled_from([None] * 6 + ["plate"]),
    quote_id=st.sampled_from([None, None, None, uuid4()]),
    producer=st.sampled_from([None, None, None, None, "P9"]),
    environment=st.sampled_from(["sandbox"] * 5 + ["production"]),
    tenant=st.sampled_from([None, "T1", "T2"]),
    priority=st.sampled_from([4, 4, 0, 9, 10, -1]),
    deadline=st.sampled_from([None, None, timedelta(minutes=1), timedelta(0)]),
    idempotency_key=st.sampled_from([None, None, "a", "b", "c"]),
    correlation_id=st.sampled_from([None, None, "trace", "x" * 101]),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.lists(ANY_VERIFICATION, max_size=2), asked=st.lists(ANY_VERIFICATION, max_size=12))
def test_many_at_once_end_as_one_after_the_other(
    db: Database, drivers: list[int], before: list[Verification], asked: list[Verification]
) -> None:
    """The same answers and the same rows, whatever is asked and whatever was asked before."""
    people = dict(enumerate(drivers))
    before, asked = (
        [replace(one, driver_id=people.get(one.driver_id or 0, one.driver_id)) for one in some]
        for some in (before, asked)
    )
    # A key that comes twice belongs to whoever has it first: by one in the order of asking, at once too.
    ways = (one_by_one, lambda connection, some: enqueue_verifications(connection, some))
    answers, rows = [], []
    for way in ways:
        with db.engine.connect() as connection:
            one_by_one(connection, before)
            answers.append(told(way(connection, asked)))
            rows.append(connection.execute(ROWS).mappings().all())
    assert answers[0] == answers[1]
    assert rows[0] == rows[1]


def test_a_bulk_is_one_transaction_and_a_few_messages(
    db: Database, drivers: list[int], redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    asked = [Verification(INTEGRATION, drivers[n % 2]) for n in range(120)]
    with redis.Redis.from_url(redis_url) as client, Session(db.engine) as session:
        enqueue_verifications(session, asked)
        assert client.llen("verification") == 0, "not before the commit"
        session.rollback()
        assert client.llen("verification") == 0
        enqueued = enqueue_verifications(session, asked)
        session.commit()
        assert client.llen("verification") == 3, "fifty in a message"
    with db.transaction() as connection:
        known = set(connection.execute(text("SELECT id FROM job")).scalars())
    assert {one.job_id for one in enqueued if isinstance(one, EnqueuedVerification)} == known
    assert len(known) == 120


def test_a_great_bulk_leaves_most_of_its_hints_to_the_dispatcher(
    db: Database, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    with db.transaction() as connection:
        enqueued = enqueue_many(connection, TEST_KIND, [{"n": n} for n in range(1_200)], tenant="T1", priority=2)
    assert len({one.job_id for one in enqueued}) == 1_200
    with redis.Redis.from_url(redis_url) as client:
        assert client.llen(TEST_KIND.queue) == 4, "two hundred jobs"
        with db.transaction() as connection:
            enqueue_many(connection, TEST_KIND, [{}] * 50)
        assert client.llen(TEST_KIND.queue) == 4, "no second bulk comes to stand before those who come later"
        with db.transaction() as connection:
            enqueue(connection, TEST_KIND)
        assert client.llen(TEST_KIND.queue) == 5, "a single job is hinted at all the same"
    with db.transaction() as connection:
        rows = connection.execute(
            text("SELECT id, tenant, priority FROM job WHERE args ? 'n' ORDER BY (args ->> 'n')::int")
        ).all()
    assert [row.id for row in rows] == [one.job_id for one in enqueued], "answered in the order of asking"
    assert {(row.tenant, row.priority) for row in rows} == {("T1", 2)}


def test_many_of_any_kind_join_jobs_that_have_their_keys(connection: Connection) -> None:
    first = enqueue_many(connection, TEST_KIND, [{}] * 3, idempotency_keys=["b", "a", None])
    again = enqueue_many(connection, TEST_KIND, [{}] * 4, idempotency_keys=["a", None, "c", "b"])
    assert [one.is_new for one in first] == [True] * 3
    assert [one.is_new for one in again] == [False, True, True, False]
    assert (again[0].job_id, again[3].job_id) == (first[1].job_id, first[0].job_id)
    with pytest.raises(ValueError, match="zip"):
        enqueue_many(connection, TEST_KIND, [{}] * 2, idempotency_keys=["a"])


def test_two_bulks_with_the_same_keys_do_not_wait_for_each_other(db: Database, drivers: list[int]) -> None:
    """In opposite orders, so that each would hold what the other wants."""
    asked = [Verification(INTEGRATION, drivers[0], idempotency_key=f"{n:03}") for n in range(200)]

    def ask(some: list[Verification]) -> list[EnqueuedVerification | Refused]:
        with db.transaction() as connection:
            return enqueue_verifications(connection, some)

    with ThreadPoolExecutor(2) as pool:
        for _ in range(3):
            forward, back = pool.map(ask, (asked, asked[::-1]))
            assert job_ids(forward) == job_ids(back[::-1])
    with db.transaction() as connection:
        assert connection.execute(text("SELECT count(*) FROM job")).scalar_one() == 200


def test_jobs_of_one_bulk_may_belong_to_several_traces(connection: Connection, drivers: list[int]) -> None:
    """Whether they are written one by one or as a set. What names none belongs to that of the transaction."""
    own, callers = f"00-{1:032x}-{1:016x}-01", f"00-{2:032x}-{2:016x}-01"
    connection.execute(text("SELECT set_config('worker.traceparent', :context, true)"), {"context": callers})
    asked = [Verification(INTEGRATION, drivers[0], idempotency_key=key) for key in (None, None, None, "a", "b", "a")]
    traces = [own, None, own, own, None, "Ann Example"]
    done = enqueue_verifications(connection, asked, traceparents=traces)
    known = {row.id: row.trace_context for row in connection.execute(text("SELECT id, trace_context FROM job"))}
    assert [known[job_id] for job_id in job_ids(done)] == [own, callers, own, own, callers, own]
    (after,) = enqueue_verifications(connection, [Verification(INTEGRATION, drivers[0])])
    found = text("SELECT trace_context FROM job WHERE id = :id")
    assert isinstance(after, EnqueuedVerification)
    assert connection.execute(found, {"id": after.job_id}).scalar_one() == callers


def test_a_bulk_may_refuse_to_wait_long_for_a_key(db: Database, drivers: list[int], connection: Connection) -> None:
    asked = [Verification(INTEGRATION, drivers[0], idempotency_key="k")]
    enqueue_verifications(connection, asked)
    with pytest.raises(OperationalError) as refused, db.transaction() as other:
        enqueue_verifications(other, asked, lock_timeout=timedelta(milliseconds=20))
    assert sqlstate(refused.value) == "55P03"
    assert is_undone(refused.value)
