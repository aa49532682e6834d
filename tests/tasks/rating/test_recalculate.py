"""One quote at a time on a real database: the premium is stored with how it came about, and nothing else is touched."""

from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tasks.rating import quote_store
from tasks.rating.standing import ToRate, rate_one
from tests.conftest import DatabaseUrls
from tests.migrations import rows
from tests.migrations.rows import insert
from tests.tasks.rating.saved import add_quote, file_plan, file_rates, jobs, quote_of, run_due
from worker.database import Database
from worker.enqueue import enqueue_recalculation
from worker.errors import BadRequest
from worker.process.engine import Engine

ONE = "rating.recalculate"


def recalculate(engine: Engine, db: Database, sql: psycopg.Connection, quote_id: UUID) -> dict[str, Any]:
    """Ask for it and have it run; gives the quote's row."""
    with db.transaction() as connection:
        enqueue_recalculation(connection, quote_id=quote_id)
    run_due(engine, db, sql, ONE)
    return quote_of(sql, quote_id)


def last_job(sql: psycopg.Connection) -> dict[str, Any]:
    return jobs(sql, ONE)[-1]


def test_a_draft_becomes_a_quoted_premium_with_its_trace(
    engine: Engine, db: Database, filed: psycopg.Connection
) -> None:
    quote = recalculate(engine, db, filed, add_quote(filed))
    assert (quote["status"], quote["premium"]) == ("quoted", Decimal("269.51"))
    assert quote["coverage_premiums"] == {"BI": "269.51"}
    assert len(quote["plan_version"]) == len(quote["input_hash"]) == 64
    (unit,) = quote["rating_trace"]["units"]
    steps = unit["coverages"]["BI"]["steps"]
    assert [step["running"] for step in steps[:5]] == ["200.000000", "230.000", "241.500", "299.460", "269.514"]
    assert last_job(filed)["state"] == "done"


def test_an_unchanged_quote_is_not_rewritten(engine: Engine, db: Database, filed: psycopg.Connection) -> None:
    quote_id = add_quote(filed)
    before = recalculate(engine, db, filed, quote_id)
    row_version = "SELECT xmin::text FROM quotes WHERE id = %s"
    version = filed.execute(row_version, [quote_id]).fetchone()
    assert recalculate(engine, db, filed, quote_id) == before
    assert filed.execute(row_version, [quote_id]).fetchone() == version


@pytest.mark.parametrize("change", ["input", "plan"])
def test_a_change_of_either_side_is_rated_again(
    engine: Engine, db: Database, filed: psycopg.Connection, change: str
) -> None:
    quote_id = add_quote(filed)
    before = recalculate(engine, db, filed, quote_id)
    if change == "input":
        filed.execute("UPDATE quotes SET drivers = %s WHERE id = %s", ['[{"class": "teen"}]', quote_id])
    else:
        filed.execute("UPDATE rate_tables SET base_rate = 300")
    after = recalculate(engine, db, filed, quote_id)
    assert after["premium"] > before["premium"]
    assert (after["input_hash"] == before["input_hash"]) == (change == "plan")
    assert (after["plan_version"] == before["plan_version"]) == (change == "input")


def test_facts_of_verified_rows_stand_over_what_was_said(
    engine: Engine, db: Database, filed: psycopg.Connection
) -> None:
    filed.execute("UPDATE rating_plans SET steps = %s", ['[{"group": "kind", "field": "driver.license_type"}]'])
    filed.execute("UPDATE rate_tables SET other_factors = %s", ['{"kind": {"full": 1, "permit": 2}}'])
    quote_id = add_quote(filed)
    driver = insert(filed, "driver", quote_id=quote_id, first_name="Ann", date_of_birth="1980-01-01")
    license_id = insert(filed, "license", driver_id=driver, license_type="full", state_code="TX")
    filed.execute("UPDATE driver SET license_id = %s WHERE id = %s", [license_id, driver])
    said = f'[{{"driver_id": {driver}, "license_type": "permit"}}]'
    filed.execute("UPDATE quotes SET drivers = %s WHERE id = %s", [said, quote_id])
    assert recalculate(engine, db, filed, quote_id)["premium"] == 200
    filed.execute("UPDATE license SET license_type = 'permit'")
    assert recalculate(engine, db, filed, quote_id)["premium"] == 400


def test_a_branded_title_is_rated_without_anybody_saying_so(
    engine: Engine, db: Database, filed: psycopg.Connection
) -> None:
    filed.execute("UPDATE rating_plans SET steps = %s", ['[{"group": "brand", "field": "vehicle.is_branded"}]'])
    filed.execute("UPDATE rate_tables SET other_factors = %s", ['{"brand": {"true": 1.15, "false": 1}}'])
    quote_id = add_quote(filed, vehicle_info=None)
    insert(filed, "vehicle", quote_id=quote_id, title_flags=["flood"])
    insert(filed, "vehicle", quote_id=quote_id, title_flags=[])
    assert recalculate(engine, db, filed, quote_id)["premium"] == 230 + 200


@pytest.mark.parametrize("status", ["bound", "expired", "declined"])
def test_a_closed_quote_keeps_its_premium(engine: Engine, db: Database, filed: psycopg.Connection, status: str) -> None:
    quote_id = add_quote(filed, premium="1.00")
    with db.transaction() as connection:
        enqueue_recalculation(connection, quote_id=quote_id)
    filed.execute("UPDATE quotes SET status = %s", [status])  # after it was asked for
    before = quote_of(filed, quote_id)
    run_due(engine, db, filed, ONE)
    assert quote_of(filed, quote_id) == before
    assert last_job(filed)["state"] == "done"
    with pytest.raises(BadRequest, match=f"is {status} and keeps"), db.transaction() as connection:
        enqueue_recalculation(connection, quote_id=quote_id)


def test_a_quote_past_its_time_is_closed_whatever_its_status_says(
    engine: Engine, db: Database, filed: psycopg.Connection
) -> None:
    quote_id = add_quote(filed, status="quoted", expires_at="2026-01-01")
    assert recalculate(engine, db, filed, quote_id)["premium"] is None


@pytest.mark.parametrize(
    ("status", "premium", "afterwards"),
    [("draft", None, "draft"), ("quoted", "5", "quoted"), ("calculating", "5", "quoted")],
)
def test_a_quote_that_cannot_be_rated_is_given_back_with_the_reason(
    engine: Engine, db: Database, filed: psycopg.Connection, status: str, premium: str | None, afterwards: str
) -> None:
    quote_id = add_quote(
        filed, status=status, premium=premium, rating_inputs={"territory": "ZZTOP", "credit_tier": "good"}
    )
    quote = recalculate(engine, db, filed, quote_id)
    assert (quote["status"], quote["premium"]) == (afterwards, premium and Decimal(premium))
    assert "quote.territory is ZZTOP" in quote["rating_problem"]
    job = last_job(filed)
    assert (job["state"], job["error_code"]) == ("failed", "missing_factor")
    assert "territory_factors" in job["error_message"]
    assert "ZZTOP" not in job["error_message"]
    filed.execute("UPDATE rate_tables SET territory_factors = territory_factors || '{\"ZZTOP\": 1}'")
    quote = recalculate(engine, db, filed, quote_id)
    assert (quote["status"], quote["rating_problem"]) == ("quoted", None)


def test_a_state_without_a_plan_is_refused(engine: Engine, db: Database, filed: psycopg.Connection) -> None:
    quote = recalculate(engine, db, filed, add_quote(filed, state="NV"))
    assert quote["rating_problem"] == "there is no plan for auto in NV on 2026-06-01"
    assert last_job(filed)["error_code"] == "no_plan"


def test_a_quote_that_moves_is_rated_by_its_new_state(engine: Engine, db: Database, filed: psycopg.Connection) -> None:
    file_plan(filed, "CA")
    insert(
        filed, "state_rating_rules", state="CA", product_type="auto", factor="credit", restriction="prohibited",
        legal_basis="Ins. Code 1861.02(a)", effective_date="2026-01-01", is_active=True,
    )  # fmt: skip
    quote_id = add_quote(filed)
    assert recalculate(engine, db, filed, quote_id)["premium"] == Decimal("269.51")
    filed.execute("UPDATE quotes SET state = 'CA'")
    assert recalculate(engine, db, filed, quote_id)["premium"] == Decimal("299.46")


def test_rates_are_those_of_the_quotes_own_date(engine: Engine, db: Database, filed: psycopg.Connection) -> None:
    filed.execute("UPDATE rate_tables SET expiration_date = '2026-06-01'")
    file_rates(filed, base="400", effective_date="2026-06-01")
    for day, premium in (("2026-05-31", "269.51"), ("2026-06-01", "539.03")):
        assert recalculate(engine, db, filed, add_quote(filed, effective_date=day))["premium"] == Decimal(premium)


def test_a_quote_edited_meanwhile_is_not_overwritten_but_done_again(
    engine: Engine, db: Database, filed: psycopg.Connection
) -> None:
    quote_id = add_quote(filed)
    with db.transaction() as connection:
        (work,) = quote_store.standings(connection, quote_store.quotes_by_id(connection, [quote_id])).values()
        assert isinstance(work, ToRate)
        (work,) = quote_store.take(connection, [work]).values()
    filed.execute("UPDATE quotes SET drivers = %s WHERE id = %s", ['[{"class": "teen"}]', quote_id])
    with db.transaction() as connection:
        assert quote_store.write(connection, [rate_one(work)]) == {quote_id}
        quote_store.again(connection, [quote_id], "edited_meanwhile")
    assert quote_of(filed, quote_id)["premium"] is None
    assert run_due(engine, db, filed, ONE) == 1
    assert quote_of(filed, quote_id)["premium"] == Decimal("543.38")


def require_verification(sql: psycopg.Connection, quote_id: UUID, status: str) -> int:
    configuration = rows.configuration(sql, is_required=True)
    driver = insert(sql, "driver", quote_id=quote_id)
    found: int = rows.request(
        sql, configuration_id=configuration, quote_id=quote_id, driver_id=driver, request_status=status
    )
    return found


def test_an_open_required_verification_keeps_the_quote_at_calculating(
    engine: Engine, db: Database, filed: psycopg.Connection
) -> None:
    quote_id = add_quote(filed)
    request = require_verification(filed, quote_id, "sent")
    quote = recalculate(engine, db, filed, quote_id)
    assert (quote["status"], quote["premium"]) == ("calculating", None)
    assert quote["rating_problem"] == f"the required verification of request {request} is still open"
    job = last_job(filed)
    assert (job["state"], job["waiting_for"]) == ("ready", quote["rating_problem"])
    filed.execute("UPDATE integration_request SET request_status = 'completed'")
    quote = recalculate(engine, db, filed, quote_id)
    assert len(jobs(filed, ONE)) == 1, "the waiting job was joined and woken"
    assert (quote["status"], quote["rating_problem"]) == ("quoted", None)


@pytest.mark.parametrize(("premium", "status"), [(None, "draft"), ("5", "quoted")])
def test_a_required_verification_that_failed_gives_the_quote_back_and_says_so(
    engine: Engine, db: Database, filed: psycopg.Connection, premium: str | None, status: str
) -> None:
    """It stayed at `calculating` until somebody asked again, and nobody was calculating."""
    quote_id = add_quote(filed, premium=premium)
    request = require_verification(filed, quote_id, "sent")
    assert recalculate(engine, db, filed, quote_id)["status"] == "calculating"
    filed.execute("UPDATE integration_request SET request_status = 'failed'")
    quote = recalculate(engine, db, filed, quote_id)
    assert quote["status"] == status
    assert quote["rating_problem"] == f"the required verification of request {request} ended as failed"
    assert last_job(filed)["error_code"] == "required_verification_failed"


def test_asking_twice_before_it_runs_is_asking_once(db: Database, filed: psycopg.Connection) -> None:
    quote_id = add_quote(filed)
    with db.transaction() as connection:
        first = enqueue_recalculation(connection, quote_id=quote_id)
        second = enqueue_recalculation(connection, quote_id=quote_id)
    assert (first.is_new, second.is_new) == (True, False)
    assert first.job_id == second.job_id


def test_a_job_that_is_joined_does_not_start_before_the_change_is_there_to_be_seen(
    engine: Engine, db: Database, filed: psycopg.Connection, database: DatabaseUrls
) -> None:
    quote_id = add_quote(filed)
    with db.transaction() as connection:
        enqueue_recalculation(connection, quote_id=quote_id)
    with psycopg.connect(database.app_url) as verification:
        verification.execute("UPDATE quotes SET drivers = %s WHERE id = %s", ['[{"class": "teen"}]', quote_id])
        verification.execute("SELECT enqueue_quote_recalculation(%s, 'verification')", [quote_id])
        run_due(engine, db, filed, ONE)  # a worker gets the first hint at just this moment
        assert quote_of(filed, quote_id)["premium"] is None
    run_due(engine, db, filed, ONE)
    assert quote_of(filed, quote_id)["premium"] == Decimal("543.38")


def test_a_key_asks_once(db: Database, filed: psycopg.Connection) -> None:
    quote_id, other = add_quote(filed), add_quote(filed)
    for _ in range(2):
        with db.transaction() as connection:
            enqueue_recalculation(connection, quote_id=quote_id, idempotency_key="k")
    assert len(jobs(filed, ONE)) == 1
    with pytest.raises(BadRequest, match="another recalculation"), db.transaction() as connection:
        enqueue_recalculation(connection, quote_id=other, idempotency_key="k")


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"quote_id": uuid4()}, "unknown_quote"),
        ({"priority": 10}, "bad_priority"),
        ({"reason": "Ann Smith moved"}, "bad_reason"),
    ],
)
def test_a_wrong_request_is_named_and_nothing_is_written(
    db: Database, filed: psycopg.Connection, asked: dict[str, Any], code: str
) -> None:
    asked = {"quote_id": add_quote(filed)} | asked
    with pytest.raises(BadRequest) as refused, db.transaction() as connection:
        enqueue_recalculation(connection, **asked)
    assert refused.value.code == code
    assert jobs(filed, ONE) == []
