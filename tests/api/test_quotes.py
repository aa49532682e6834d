"""POST /v1/quotes/{id}:recalculate: one job a key or a waiting quote, and wrong forms by name."""

from uuid import UUID, uuid4

import psycopg
import pytest

from tests.api.clients import Upstream, add_client, token_of
from tests.api.served import Api
from tests.api.test_rights import change
from tests.conftest import DatabaseUrls
from tests.migrations.rows import insert
from worker.database import Database


@pytest.fixture
def quote(database: DatabaseUrls) -> UUID:
    with psycopg.connect(database.owner_url) as owner:
        found: UUID = insert(owner, "quotes", state="TX", product_type="auto")
    return found


def path(quote: object) -> str:
    return f"/v1/quotes/{quote}:recalculate"


def test_asking_writes_the_job_and_says_where_it_is(upstream: Upstream, quote: UUID) -> None:
    first = upstream.call("POST", path(quote), {"priority": 2})
    assert (first.status, first.body["is_new"], first.body["state"]) == (202, True, "ready")
    job = upstream.call("GET", first.headers["Location"]).body
    assert (job["kind"], job["tenant"], job["priority"]) == ("rating.recalculate", "T1", 2)
    again = upstream.call("POST", path(quote))
    assert again.body == {**first.body, "is_new": False}, "one that waits is enough"
    keyed = [upstream.call("POST", path(quote), {}, Idempotency_Key="k").body for _ in range(2)]
    assert [one["is_new"] for one in keyed] == [True, False]
    assert keyed[0]["job_id"] == keyed[1]["job_id"] != first.body["job_id"]


def test_what_is_wrong_is_named(api: Api, upstream: Upstream, db: Database, quote: UUID) -> None:
    wrong: list[tuple[object, object, int, str]] = [
        ("x", {}, 422, "quote_id"),
        (uuid4(), {}, 404, "quote_id"),
        (quote, {"priority": "4"}, 422, "priority"),
        (quote, {"priority": 10}, 422, "priority"),
        (quote, {"surprise": 1}, 422, "surprise"),
        (quote, {"tenant": "T2"}, 404, "tenant"),
        (quote, {"tenant": ""}, 422, "tenant"),
        (quote, [], 422, "body"),
    ]
    for asked, body, status, field in wrong:
        reply = upstream.call("POST", path(asked), body)
        assert (reply.status, reply.fields) == (status, [field]), (asked, body)
    assert upstream.call("POST", path(quote), {}, Idempotency_Key="a b").fields == ["Idempotency-Key"]
    several = token_of(api, add_client(db, "T1", "T2"))
    assert api.call("POST", path(quote), several).fields == ["tenant"]
    change(db, "UPDATE quotes SET status = 'bound'")
    closed = upstream.call("POST", path(quote))
    assert (closed.status, closed.body["code"], closed.fields) == (409, "quote_closed", ["quote_id"])
    with db.transaction() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM job").scalar_one() == 0
