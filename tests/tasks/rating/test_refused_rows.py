"""What can't be rated by is refused when it is saved, whoever saves it, naming the field."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.conftest import DatabaseUrls, database_from
from tests.migrations.rows import insert
from tests.tasks.rating.filed import rounding
from tests.tasks.rating.saved import file_plan
from worker.dev.embedded import EmbeddedServers


@pytest.fixture(scope="module")
def module_database(servers: EmbeddedServers, template: str) -> Iterator[DatabaseUrls]:
    yield from database_from(servers, template)


@pytest.fixture
def sql(module_database: DatabaseUrls) -> Iterator[psycopg.Connection]:
    """The application's role inside a transaction that is rolled back, with a plan filed."""
    with psycopg.connect(module_database.app_url) as connection, connection.transaction(force_rollback=True):
        file_plan(connection)
        yield connection


RATES = {"state": "TX", "product_type": "auto", "coverage_type": "PD", "base_rate": "5", "effective_date": "2026-01-01"}
PLAN = {
    "state": "NV",
    "product_type": "auto",
    "name": "Plan",
    "rounding": rounding(),
    "effective_date": "2026-01-01",
}
RULE = {"code": "A", "rule_name": "A", "discount_type": "percentage", "discount_value": "5"}


def refused(sql: psycopg.Connection, said: str, table: str, **values: Any) -> None:
    with pytest.raises((errors.CheckViolation, errors.ExclusionViolation), match=said), sql.transaction():
        insert(sql, table, **values)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"territory_factors": {"101": -0.5}}, r"territory_factors\.101 is -0\.5"),
        ({"territory_factors": {"101": 0}}, r"territory_factors\.101 is 0"),
        ({"vehicle_factors": {"101": "1.1"}}, r"vehicle_factors\.101 must be a number, not string"),
        ({"driver_factors": {"points": {"3": 1.23456}}}, r"driver_factors\.points\.3 is 1\.23456"),
        ({"driver_factors": {"points": {}}}, r"driver_factors\.points is empty"),
        ({"driver_factors": {"points": {"3": 1}, "adult": 1}}, "driver_factors must hold either"),
        ({"credit_factors": [1.1]}, "credit_factors must be a JSON object"),
        ({"credit_factors": {"": 1.1}}, "credit_factors has an empty key"),
        ({"other_factors": {"ai_risk": {"0": None}}}, r"other_factors\.ai_risk\.0 must be a number, not null"),
        ({"other_factors": {"credit": {"good": 1}}}, r"other_factors\.credit has its place in credit_factors"),
        ({"base_rate": "-1"}, "ck_rate_tables_base_rate"),
        ({"base_rate": "NaN"}, "base_rate must be a number"),
        ({"min_premium": "-1"}, "ck_rate_tables_min_premium"),
        ({"min_premium": "2", "max_premium": "1"}, "ck_rate_tables_premiums"),
        ({"rounding": {"final": {"decimals": 3, "mode": "half_up"}}}, r"rounding\.final\.decimals"),
        ({"rounding": {"step": {"decimals": 3, "mode": "nearest"}}}, r"rounding\.step\.mode"),
        ({"rounding": {"end": {}}}, r"rounding\.end is not known"),
        ({"effective_date": "2026-02-01", "expiration_date": "2026-01-01"}, "ck_rate_tables_dates"),
        ({"coverage_type": "BI", "is_active": True, "effective_date": "2026-05-01"}, "ex_rate_tables_no_overlap"),
    ],
)
def test_malformed_rates_are_refused(sql: psycopg.Connection, values: dict[str, Any], said: str) -> None:
    refused(sql, said, "rate_tables", **RATES | values)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"steps": {}}, "steps must be a JSON list"),
        ({"steps": [{"group": "territory"}]}, r"steps\[1\]\.field: there is no rating field \(missing\)"),
        ({"steps": [{"group": "x", "field": "driver.shoe_size"}]}, r"steps\[1\]\.field: .* driver\.shoe_size"),
        ({"steps": [{"group": "T 1", "field": "quote.territory"}]}, r"steps\[1\]\.group"),
        ({"steps": [{"group": "x", "field": "quote.territory", "colour": 1}]}, r"steps\[1\]\.colour is not known"),
        ({"steps": [{"group": "x", "field": "quote.territory"}] * 2}, r"steps\[2\] repeats the factor x"),
        ({"steps": [{"group": "x", "field": "quote.territory", "match": "from"}]}, r"steps\[1\]\.match"),
        ({"steps": [{"group": "x", "field": "quote.territory", "default": -1}]}, r"steps\[1\]\.default is -1"),
        ({"steps": [{"group": "x", "field": "quote.territory", "coverages": []}]}, r"steps\[1\]\.coverages"),
        ({"rounding": {"step": {"decimals": 3, "mode": "half_up"}}}, r"rounding\.final is missing"),
        ({"rounding": rounding(per="vehicle")}, r"rounding\.final\.per"),
        ({"fees": [{"code": "A", "amount": -1, "per": "policy"}]}, r"fees\[1\]\.amount"),
        ({"fees": [{"code": "A", "amount": 1.005, "per": "policy"}]}, r"fees\[1\]\.amount"),
        ({"fees": [{"code": "A", "amount": 1, "per": "driver"}]}, r"fees\[1\]\.per"),
        ({"assignment": {"rule": "lowest"}}, r"assignment\.rule"),
        ({"assignment": {"unassigned": {"shoe_size": 9}}}, r"driver\.shoe_size"),
        ({"discount_cap_percent": "101"}, "discount_cap_percent"),
        ({"state": "TX", "is_active": True}, "ex_rating_plans_no_overlap"),
    ],
)
def test_malformed_plans_are_refused(sql: psycopg.Connection, values: dict[str, Any], said: str) -> None:
    refused(sql, said, "rating_plans", **PLAN | values)


def field(name: str, op: str = "eq", value: Any = True) -> dict[str, Any]:
    return {"field": name, "op": op, "value": value}


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        (field("driver.shoe_size"), r"eligibility_rules\.field: there is no rating field driver\.shoe_size"),
        ({"all": [field("quote.paperless"), field("x.y")]}, r"eligibility_rules\.all\[2\]\.field: .* x\.y"),
        ({"any": [{"not": field("x.y")}]}, r"eligibility_rules\.any\[1\]\.not\.field"),
        (field("quote.paperless", "like"), r"eligibility_rules\.op"),
        (field("quote.paperless", "gt"), "can't be compared by gt"),
        (field("driver.points", "gte", "3"), r"eligibility_rules\.value: driver\.points is a number"),
        (field("driver.points", "in", 3), r"eligibility_rules\.value must be a list"),
        (field("driver.points", "exists", 3), "true or false"),
        ({"all": []}, r"eligibility_rules\.all must be a list"),
        ({"all": [field("quote.paperless")], "any": []}, "has more beside"),
        ({"all": [{}]}, r"eligibility_rules\.all\[1\] is empty"),
        ({"field": "quote.paperless", "op": "eq", "value": True, "or": 1}, r"eligibility_rules\.or is not known"),
        ([], "eligibility_rules must be a JSON object"),
        (field("rule.A"), r"rule\.A is the rule itself, which would go in a circle"),
        (field("rule.NOBODY"), "there is no rule NOBODY"),
        (field("rule.NOBODY", "in", [True]), "there is no rule NOBODY"),
    ],
)
def test_malformed_conditions_are_refused(sql: psycopg.Connection, conditions: Any, said: str) -> None:
    refused(sql, said, "discount_rules", **RULE, eligibility_rules=conditions)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"discount_value": "-5"}, "ck_discount_rules_discount_value"),
        ({"discount_value": "NaN"}, "discount_value"),
        ({"discount_value": "101"}, "discount_percentage"),
        ({"max_amount": "0"}, "max_amount"),
        ({"applies_to": "vehicle"}, "applies_to"),
        ({"applies_to": "policy", "eligibility_rules": field("driver.points")}, "for the whole policy"),
    ],
)
def test_malformed_rules_are_refused(sql: psycopg.Connection, values: dict[str, Any], said: str) -> None:
    refused(sql, said, "discount_rules", **RULE | values)


def test_rules_must_not_ask_each_other_in_a_circle(sql: psycopg.Connection) -> None:
    insert(sql, "discount_rules", **RULE)
    surcharge = {"surcharge_type": "fixed", "surcharge_value": "1"}
    insert(sql, "surcharge_rules", code="B", rule_name="B", **surcharge, trigger_conditions=field("rule.A"))
    insert(sql, "surcharge_rules", code="C", rule_name="C", **surcharge, trigger_conditions={"not": field("rule.B")})
    circle = "UPDATE discount_rules SET eligibility_rules = %s"
    said = r"eligibility_rules\.field: rule\.C .* in a circle"
    with pytest.raises(errors.CheckViolation, match=said), sql.transaction():
        sql.execute(circle, ['{"field": "rule.C", "op": "eq", "value": true}'])
    with pytest.raises(errors.CheckViolation, match="rule B reads rule A"), sql.transaction():
        sql.execute("DELETE FROM discount_rules")
    refused(sql, "code A is taken", "surcharge_rules", code="A", rule_name="D", **surcharge)


def test_a_field_in_use_stays(sql: psycopg.Connection) -> None:
    for statement in ("DELETE FROM rating_fields WHERE name = 'vehicle.class'",
                      "UPDATE rating_fields SET value_type = 'number' WHERE name = 'vehicle.class'"):  # fmt: skip
        with pytest.raises(errors.CheckViolation, match=r"reads the rating field vehicle\.class"), sql.transaction():
            sql.execute(statement)
    sql.execute("DELETE FROM rating_fields WHERE name = 'property.year_built'")


@pytest.mark.parametrize("name", ["driver", "customer.name", "driver.Name", "driver.a.b"])
def test_a_field_stands_in_a_known_place(sql: psycopg.Connection, name: str) -> None:
    with pytest.raises(errors.CheckViolation, match="ck_rating_fields_name"), sql.transaction():
        sql.execute("INSERT INTO rating_fields VALUES (%s, 'text', 'a test')", [name])


def test_a_draft_may_wait_for_the_day_of_the_active_one(sql: psycopg.Connection) -> None:
    draft = RATES | {"coverage_type": "BI", "effective_date": "2026-05-01"}
    insert(sql, "rate_tables", **draft)
    refused(sql, "ex_rate_tables_no_overlap", "rate_tables", **draft | {"effective_date": "2026-07-01"})


def test_state_rules_of_one_factor_do_not_overlap(sql: psycopg.Connection) -> None:
    rule = {"state": "TX", "product_type": "auto", "factor": "credit", "restriction": "prohibited", "legal_basis": "-"}
    insert(sql, "state_rating_rules", **rule, effective_date="2026-01-01")
    refused(sql, "ex_state_rating_rules_no_overlap", "state_rating_rules", **rule, effective_date="2026-02-01")
    refused(
        sql, "min_factor", "state_rating_rules", **rule | {"restriction": "capped", "min_factor": "-1"},
        effective_date="2025-02-01", expiration_date="2025-03-01",
    )  # fmt: skip
