"""All quotes a filter means, in ranges: each is written once for a plan's version, whatever stops it on the way."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tasks.rating import many, many_store
from tests.tasks.rating.saved import (
    add_quote,
    add_quotes,
    file_plan,
    file_rates,
    forget_jobs,
    jobs,
    quote_of,
    run_all,
    run_due,
    written,
)
from worker.database import Database
from worker.enqueue import enqueue_recalculations
from worker.errors import BadRequest
from worker.operating.control import cancel, retry
from worker.process.engine import Engine

MANY, RANGE = "rating.recalculate_many", "rating.recalculate_range"


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_store, "RANGE", 4)


def ask(db: Database, **asked: Any) -> UUID:
    with db.transaction() as connection:
        return enqueue_recalculations(connection, **asked).job_id


def whole(sql: psycopg.Connection) -> dict[str, Any]:
    return jobs(sql, MANY)[-1]


def test_every_quote_is_written_once_and_the_second_time_none(
    engine: Engine, db: Database, filed: psycopg.Connection, writes: psycopg.Connection
) -> None:
    ids = add_quotes(filed, 10)
    for expected in ({"rated": 10, "unchanged": 0}, {"rated": 0, "unchanged": 10}):
        ask(db, state="TX")
        run_all(engine, db, filed)
        job = whole(filed)
        assert job["state"] == "done"
        assert job["progress"] == {
            "ranges": 3, "ranges_done": 3, "quotes": 10, "waiting": 0, "again": 0, "refused": {}, **expected,
        }  # fmt: skip
    assert written(writes) == dict.fromkeys(ids, 1)
    assert {quote_of(filed, quote_id)["premium"] for quote_id in ids} == {Decimal("269.51")}


def test_a_filter_leaves_others_alone(engine: Engine, db: Database, filed: psycopg.Connection) -> None:
    file_plan(filed, "CA")
    meant = add_quote(filed, status="quoted")
    others = [
        add_quote(filed, status="quoted", state="CA"),
        add_quote(filed, status="quoted", effective_date="2026-03-01"),
        add_quote(filed, status="draft"),
        add_quote(filed, status="bound"),
    ]
    forget_jobs(filed)
    ask(db, state="TX", product_type="auto", since=quote_of(filed, meant)["effective_date"])
    run_all(engine, db, filed)
    assert quote_of(filed, meant)["premium"] is not None
    assert [quote_of(filed, other)["premium"] for other in others] == [None] * 4


def test_progress_is_seen_while_it_runs(engine: Engine, db: Database, filed: psycopg.Connection) -> None:
    add_quotes(filed, 10)
    ask(db)
    run_due(engine, db, filed, MANY)
    engine_kind_first = jobs(filed, RANGE)[0]["id"]
    filed.execute(
        "UPDATE job SET run_at = now() + interval '1 hour' WHERE kind = %s AND id <> %s", [RANGE, engine_kind_first]
    )
    run_due(engine, db, filed, RANGE)
    filed.execute("UPDATE job SET run_at = now() WHERE kind = %s", [MANY])
    run_due(engine, db, filed, MANY)
    job = whole(filed)
    assert (job["state"], job["waiting_for"]) == ("ready", "2 of 3 ranges")
    assert (job["progress"]["ranges_done"], job["progress"]["ranges"]) == (1, 3)
    assert job["progress"]["rated"] == job["progress"]["quotes"] in (2, 4)


def test_cancelling_stops_the_rest_and_a_retry_runs_only_that(
    engine: Engine, db: Database, filed: psycopg.Connection, writes: psycopg.Connection
) -> None:
    ids = add_quotes(filed, 10)
    job_id = ask(db)
    run_due(engine, db, filed, MANY)
    first, *rest = jobs(filed, RANGE)
    filed.execute("UPDATE job SET run_at = now() + interval '1 hour' WHERE id = ANY(%s)", [[job["id"] for job in rest]])
    run_due(engine, db, filed, RANGE)
    with db.transaction() as connection:
        cancel(connection, job_id, "test")
    run_all(engine, db, filed)
    assert whole(filed)["state"] == "cancelled"
    assert [job["state"] for job in jobs(filed, RANGE)] == ["done", "cancelled", "cancelled"]
    done = written(writes)
    assert 0 < len(done) < 10
    with db.transaction() as connection:
        retry(connection, job_id, "test")
    run_all(engine, db, filed)
    assert whole(filed)["state"] == "done"
    assert whole(filed)["progress"]["rated"] == 10
    assert written(writes) == dict.fromkeys(ids, 1)
    assert first["id"] in {job["id"] for job in jobs(filed, RANGE)}, "nothing was planned twice"


def test_a_range_that_fails_is_told_and_a_retry_runs_just_that(
    engine: Engine, db: Database, filed: psycopg.Connection, writes: psycopg.Connection
) -> None:
    ids = add_quotes(filed, 6)
    job_id = ask(db)
    run_due(engine, db, filed, MANY)
    filed.execute("UPDATE job SET crashes = 3 WHERE id = %s", [jobs(filed, RANGE)[0]["id"]])
    run_all(engine, db, filed)
    assert (whole(filed)["state"], whole(filed)["error_code"]) == ("failed", "ranges_failed")
    assert 0 < len(written(writes)) < 6
    with db.transaction() as connection:
        retry(connection, job_id, "test")
    run_all(engine, db, filed)
    assert whole(filed)["state"] == "done"
    assert written(writes) == dict.fromkeys(ids, 1)


def test_one_quote_that_cannot_be_rated_does_not_hold_up_its_range(
    engine: Engine, db: Database, filed: psycopg.Connection
) -> None:
    bad = add_quote(filed, status="quoted", premium="7", rating_inputs={"territory": "?", "credit_tier": "good"})
    good = add_quote(filed, status="quoted")
    ask(db)
    run_all(engine, db, filed)
    assert whole(filed)["progress"]["refused"] == {"missing_factor": 1}
    assert quote_of(filed, bad)["premium"] == 7
    assert "no factor" in quote_of(filed, bad)["rating_problem"]
    assert quote_of(filed, good)["premium"] == Decimal("269.51")


def test_a_quote_edited_while_its_range_is_rated_is_done_again_by_itself(
    engine: Engine, db: Database, filed: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited, other = add_quotes(filed, 2)
    rate_all = many_store._write

    def edit_first(connection: Any, done: many.RangeDone) -> Any:
        filed.execute("UPDATE quotes SET drivers = %s WHERE id = %s", ['[{"class": "teen"}]', edited])
        return rate_all(connection, done)

    monkeypatch.setattr(many_store, "_write", edit_first)
    ask(db)
    run_due(engine, db, filed, MANY)
    run_due(engine, db, filed, RANGE)
    assert quote_of(filed, edited)["premium"] is None
    assert quote_of(filed, other)["premium"] == Decimal("269.51")
    run_all(engine, db, filed)
    assert whole(filed)["progress"]["again"] == 1
    assert quote_of(filed, edited)["premium"] == Decimal("543.38")


def test_a_dry_run_of_a_draft_says_what_would_change_and_writes_nothing(
    engine: Engine, db: Database, filed: psycopg.Connection, writes: psycopg.Connection
) -> None:
    ids = add_quotes(filed, 9)
    unlike = add_quote(filed, status="quoted", drivers=[{"class": "teen"}])
    ask(db)
    run_all(engine, db, filed)
    before = written(writes)
    draft = file_rates(filed, base="220", effective_date="2026-05-01", is_active=False)
    ask(db, dry_run=True, drafts=[draft])
    run_all(engine, db, filed)
    progress = whole(filed)["progress"]
    assert written(writes) == before
    assert progress["rated"] == 10
    assert progress["differences"] == {
        "count": 10, "up": 10, "down": 0, "min": "26.96", "median": "26.96", "max": "54.33", "total": "296.97",
    }  # fmt: skip
    assert [count for _, count in progress["histogram"]] == [9, *[0] * 18, 1]
    assert progress["histogram"][0][0] == "26.96"
    with db.transaction() as connection, pytest.raises(BadRequest, match="activate them first"):
        enqueue_recalculations(connection, drafts=[draft])
    filed.execute("SELECT activate_rating('rate_tables', %s)", [draft])
    run_all(engine, db, filed)
    assert quote_of(filed, ids[0])["premium"] == Decimal("296.47")
    assert quote_of(filed, unlike)["premium"] == Decimal("597.71")


def test_a_dry_run_without_quotes_has_no_differences(engine: Engine, db: Database, filed: psycopg.Connection) -> None:
    ask(db, dry_run=True)
    run_all(engine, db, filed)
    progress = whole(filed)["progress"]
    assert (progress["quotes"], progress["differences"]["count"], progress["histogram"]) == (0, 0, [])


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"state": "Texas"}, "bad_state"),
        ({"product_type": "boat"}, "bad_product"),
        ({"reason": "?"}, "bad_reason"),
        ({"priority": -1}, "bad_priority"),
        ({"dry_run": True, "drafts": [UUID(int=7)]}, "unknown_draft"),
    ],
)
def test_a_wrong_filter_is_named(db: Database, filed: psycopg.Connection, asked: dict[str, Any], code: str) -> None:
    with pytest.raises(BadRequest) as refused:
        ask(db, **asked)
    assert refused.value.code == code
    assert jobs(filed, MANY) == []
