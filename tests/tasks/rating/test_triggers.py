"""What asks for a recalculation by itself: rates that change or are activated, by whatever way, and filed dates."""

from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.conftest import DatabaseUrls
from tests.migrations.rows import insert
from tests.tasks.rating.saved import add_quote, file_plan, file_rates, forget_jobs, jobs, quote_of, run_all, run_due
from worker.configuration.rates import activate_rating
from worker.database import Database
from worker.errors import BadRequest
from worker.process.engine import Engine

MANY, DATES = "rating.recalculate_many", "rating.follow_dates"
TODAY = "SELECT (now() AT TIME ZONE 'UTC')::date"


def asked(sql: psycopg.Connection) -> list[dict[str, Any]]:
    return [job["args"] for job in jobs(sql, MANY)]


def test_an_active_row_asks_for_the_quotes_it_touches(filed: psycopg.Connection) -> None:
    filed.execute("UPDATE rate_tables SET base_rate = 210")
    assert asked(filed) == [
        {"state": "TX", "product_type": "auto", "from": "2026-01-01", "dry_run": False, "reason": "rate_tables"}
    ]


def test_a_whole_plan_activated_at_once_asks_once(sql: psycopg.Connection) -> None:
    file_plan(sql)
    for coverage in ("PD", "COLL"):
        file_rates(sql, coverage_type=coverage)
    assert len(asked(sql)) == 1


def test_a_draft_asks_for_nothing(filed: psycopg.Connection) -> None:
    draft = file_rates(filed, effective_date="2027-01-01", is_active=False)
    filed.execute("UPDATE rate_tables SET base_rate = 5 WHERE id = %s", [draft])
    filed.execute("UPDATE rate_tables SET base_rate = base_rate")
    filed.execute("DELETE FROM rate_tables WHERE id = %s", [draft])
    assert asked(filed) == []


@pytest.mark.parametrize("table", ["discount_rules", "surcharge_rules", "state_rating_rules"])
def test_rules_ask_too(filed: psycopg.Connection, table: str) -> None:
    if table == "state_rating_rules":
        row = {
            "state": "TX",
            "product_type": "auto",
            "factor": "credit",
            "restriction": "prohibited",
            "legal_basis": "-",
        }
    else:
        kind = table.split("_")[0]
        row = {"code": "A", "rule_name": "A", f"{kind}_type": "percentage", f"{kind}_value": "5", "state": "TX"}
    insert(filed, table, **row, effective_date="2026-02-01", is_active=True)
    assert [args["reason"] for args in asked(filed)] == [table]
    filed.execute(psycopg.sql.SQL("DELETE FROM {}").format(psycopg.sql.Identifier(table)))
    assert len(asked(filed)) == 1, "the one that waits is joined"


@pytest.mark.parametrize("way", ["python", "sql", "update"])
def test_a_rate_table_is_activated_by_any_way(
    engine: Engine, db: Database, filed: psycopg.Connection, way: str
) -> None:
    quote_id = add_quote(filed, status="quoted")
    draft = file_rates(filed, base="400", effective_date="2026-05-01", is_active=False)
    if way == "python":
        with db.transaction() as connection:
            assert activate_rating(connection, "rate_tables", draft)
    elif way == "sql":
        filed.execute("SELECT activate_rating('rate_tables', %s)", [draft])
    else:
        filed.execute("UPDATE rate_tables SET expiration_date = '2026-05-01' WHERE is_active")
        filed.execute("UPDATE rate_tables SET is_active = true WHERE id = %s", [draft])
    run_all(engine, db, filed)
    assert str(quote_of(filed, quote_id)["premium"]) == "539.03"
    ends = filed.execute("SELECT base_rate::integer, expiration_date FROM rate_tables ORDER BY base_rate").fetchall()
    assert ends == [(200, date(2026, 5, 1)), (400, None)]


def test_activating_twice_is_activating_once(db: Database, filed: psycopg.Connection) -> None:
    draft = file_rates(filed, effective_date="2026-05-01", is_active=False)
    with db.transaction() as connection:
        assert activate_rating(connection, "rate_tables", draft) is True
        assert activate_rating(connection, "rate_tables", draft) is False


@pytest.mark.parametrize(("table", "code"), [("users", "unknown_table"), ("rate_tables", "unknown_row")])
def test_activating_nothing_is_named(db: Database, filed: psycopg.Connection, table: str, code: str) -> None:
    with db.transaction() as connection, pytest.raises(BadRequest) as refused:
        activate_rating(connection, table, uuid4())
    assert refused.value.code == code


def test_what_would_overlap_a_later_table_is_not_activated(db: Database, filed: psycopg.Connection) -> None:
    filed.execute("UPDATE rate_tables SET effective_date = '2026-06-01'")
    draft = file_rates(filed, effective_date="2026-05-01", is_active=False)
    with db.transaction() as connection, pytest.raises(BadRequest) as refused:
        activate_rating(connection, "rate_tables", draft)
    assert refused.value.code == "overlap"
    assert not filed.execute("SELECT is_active FROM rate_tables WHERE id = %s", [draft]).fetchall()[0][0]


def test_a_filed_date_that_is_reached_brings_undated_quotes_up_to_date(
    engine: Engine, db: Database, sql: psycopg.Connection, database: DatabaseUrls
) -> None:
    [(today,)] = sql.execute(TODAY).fetchall()
    file_plan(sql, effective_date=today - timedelta(days=100))
    sql.execute(
        "UPDATE rate_tables SET effective_date = %s, expiration_date = %s", [today - timedelta(days=100), today]
    )
    file_rates(sql, base="400", effective_date=today)
    quote_id = add_quote(sql, status="quoted", effective_date=None, premium="269.51")
    forget_jobs(sql)
    follow = "INSERT INTO job (kind, queue, scheduled_for) VALUES ('rating.follow_dates', 'rating', %s)"
    sql.execute(follow, [today])
    run_due(engine, db, sql, DATES)
    assert [job["args"]["reason"] for job in jobs(sql, MANY)] == ["effective_date"]
    run_all(engine, db, sql)
    assert str(quote_of(sql, quote_id)["premium"]) == "539.03"
    sql.execute(follow, [today + timedelta(days=1)])
    run_due(engine, db, sql, DATES)
    assert len(jobs(sql, MANY)) == 1, "that date was followed yesterday"


def test_an_entry_with_a_name_of_its_own_follows_dates_since_its_own_last_slot(
    db: Database, sql: psycopg.Connection, engine: Engine
) -> None:
    [(today,)] = sql.execute(TODAY).fetchall()
    file_plan(sql, effective_date=today)
    forget_jobs(sql)
    slot = (
        "INSERT INTO job (kind, queue, entry, scheduled_for, state, finished_at) VALUES (%s, 'rating', %s, %s, %s, %s)"
    )
    sql.execute(slot, [DATES, DATES, today, "done", today])
    sql.execute(slot, [DATES, "again", today - timedelta(days=2), "done", today])
    sql.execute(slot, [DATES, "again", today, "ready", None])
    run_due(engine, db, sql, DATES)
    assert len(jobs(sql, MANY)) == 1


def test_ids_of_drafts_reach_the_ledger_as_text(db: Database, filed: psycopg.Connection) -> None:
    draft: UUID = file_rates(filed, effective_date="2026-05-01", is_active=False)
    filed.execute("SELECT enqueue_quotes_recalculation(p_dry_run => true, p_drafts => ARRAY[%s::uuid])", [draft])
    assert asked(filed)[0]["drafts"] == [str(draft)]
