"""Requests that are admitted and written together: each has the answer that it would have had alone."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial

import psycopg
from sqlalchemy import text

from tests.api.clients import Upstream, add_client, token_of
from tests.api.served import Api, Reply
from tests.api.test_verifications import question, rows
from tests.conftest import DatabaseUrls
from worker.database import Database

PATH = "/v1/verifications"
TRACE = "00-{:032x}-b7ad6b7169203331-01"


def at_once(calls: Iterable[Callable[[], Reply]]) -> list[Reply]:
    calls = list(calls)
    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(lambda call: call(), calls))


def scalars(db: Database, statement: str) -> list[object]:
    with db.transaction() as connection:
        return list(connection.execute(text(statement)).scalars())


def test_each_has_its_own_answer_whatever_its_neighbours_ask(api: Api, driver: int, db: Database) -> None:
    known = add_client(db, "T1"), add_client(db, "T1", "T2"), add_client(db, "T1", scopes=["jobs:read"])
    one, two, reader = (Upstream(api, token_of(api, client)) for client in known)
    nobody = Upstream(api, "x" * 43)
    cases: list[tuple[Upstream, dict[str, object], int]] = [
        (one, question(driver), 202),
        (two, question(driver, tenant="T2"), 202),
        (two, question(driver), 422),
        (one, question(driver, tenant="T2"), 404),
        (one, question(999_999), 404),
        (one, question(driver, integration="NOBODY"), 404),
        (one, question(driver, environment="production"), 409),
        (one, question(driver, force=True), 403),
        (one, question(0), 422),
        (reader, question(driver), 403),
        (nobody, question(driver), 401),
    ]
    rounds = [case for _ in range(8) for case in cases]
    replies = at_once(partial(who.call, "POST", PATH, what) for who, what, _ in rounds)
    assert [reply.status for reply in replies] == [status for _, _, status in rounds]
    assert rows(db) == (16, 16)
    accepted = {reply.body["job_id"] for reply in replies if reply.status == 202}
    assert accepted == {str(job) for job in scalars(db, "SELECT id FROM job")}
    assert sorted(map(str, scalars(db, "SELECT tenant FROM job"))) == ["T1"] * 8 + ["T2"] * 8
    logged = "SELECT action FROM oauth2_token_logs WHERE action IN ('used', 'introspected')"
    assert sorted(map(str, scalars(db, logged))) == ["introspected", "used", "used", "used"], "each once"


def test_of_those_that_ask_together_as_many_go_on_as_the_limit_leaves(api: Api, db: Database, driver: int) -> None:
    upstream = Upstream(api, token_of(api, add_client(db, per_hour=20)))
    (counted,) = scalars(db, "SELECT requests FROM oauth2_request_counts WHERE span_s = 3600") or [0]
    replies = at_once([partial(upstream.call, "POST", PATH, question(driver))] * 50)
    assert isinstance(counted, int)
    assert sorted(reply.status for reply in replies) == [202] * (20 - counted) + [429] * (30 + counted)
    assert all(int(reply.headers["Retry-After"]) > 0 for reply in replies if reply.status == 429)
    assert rows(db) == (20 - counted, 20 - counted)
    assert scalars(db, "SELECT requests FROM oauth2_request_counts WHERE span_s = 3600") == [50 + counted]


def test_each_job_belongs_to_the_trace_of_its_own_request(upstream: Upstream, driver: int, db: Database) -> None:
    traces = [TRACE.format(n) for n in range(1, 31)]
    calls = [partial(upstream.call, "POST", PATH, question(driver), traceparent=trace) for trace in traces]
    replies = at_once([*calls, *[partial(upstream.call, "POST", PATH, question(driver))] * 10])
    with db.transaction() as connection:
        known = {
            row.id: row.trace for row in connection.execute(text("SELECT id::text, trace_context AS trace FROM job"))
        }
    assert [known[reply.body["job_id"]] for reply in replies] == [*traces, *[None] * 10]


@contextmanager
def key_held(database: DatabaseUrls) -> Iterator[psycopg.Connection]:
    """Another transaction has given the key `k` to the jobs there are, and does not say yet whether it keeps it."""
    with psycopg.connect(database.owner_url) as other:
        other.execute("UPDATE job SET idempotency_key = 'k', idempotency_until = now() + interval '1 day'")
        yield other


def test_who_has_to_wait_for_a_lock_waits_alone(
    upstream: Upstream, driver: int, db: Database, database: DatabaseUrls
) -> None:
    upstream.call("POST", PATH, question(driver))
    with key_held(database) as other, ThreadPoolExecutor(60) as pool:
        waits = [pool.submit(upstream.call, "POST", PATH, question(driver), Idempotency_Key="k") for _ in range(2)]
        free = [pool.submit(upstream.call, "POST", PATH, question(driver)) for _ in range(50)]
        assert not wait(free, 9).not_done
        assert {call.result().status for call in free} == {202}
        assert not any(call.done() for call in waits), "the key is still another's"
        other.rollback()
        replies = [call.result() for call in waits]
    assert {reply.status for reply in replies} == {202}
    assert len({reply.body["job_id"] for reply in replies}) == 1
    assert rows(db) == (52, 52)


def test_where_one_breaks_a_rule_of_the_database_its_neighbours_are_written(
    upstream: Upstream, driver: int, db: Database, database: DatabaseUrls
) -> None:
    with psycopg.connect(database.owner_url) as owner:
        owner.execute("ALTER TABLE job ADD CONSTRAINT test_rule CHECK (priority <> 7)")
    asked = [*[question(driver)] * 30, question(driver, priority=7)]
    replies = at_once(partial(upstream.call, "POST", PATH, what) for what in asked)
    assert [reply.status for reply in replies] == [202] * 30 + [500]
    assert rows(db) == (30, 30)


def test_two_requests_that_each_waited_for_a_lock_held_up_all_others(
    upstream: Upstream, driver: int, db: Database, database: DatabaseUrls
) -> None:
    """They came one after the other, each into a transaction of its own, and there are two at a time."""
    upstream.call("POST", PATH, question(driver))
    with key_held(database) as other, ThreadPoolExecutor(3) as pool:
        waits = []
        for _ in range(2):
            waits.append(pool.submit(upstream.call, "POST", PATH, question(driver), Idempotency_Key="k"))
            wait(waits, 0.1)
        assert pool.submit(upstream.call, "POST", PATH, question(driver)).result(5).status == 202
        assert not any(call.done() for call in waits), "the key is still another's"
        other.rollback()
        assert {call.result().status for call in waits} == {202}
