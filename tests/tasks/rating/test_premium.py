"""The premium against the worked examples, to the cent, and what each kind of data does to it."""

from decimal import Decimal
from typing import Any

import pytest

from tasks.rating.premium import Rated
from tasks.rating.refusal import Refused
from tests.tasks.rating.filed import (
    STEPS,
    book,
    discount,
    plan,
    quote,
    rated,
    rounding,
    running,
    state_rule,
    steps_of,
    surcharge,
    table,
)

TEN_THEN_THREE = (discount("A", "10", priority=1), discount("B", "3", priority=2))
FIFTEEN_MORE = (surcharge("S", "15"),)
NO_STEPS = plan(steps=[])
THOUSAND = table(base="1000")


def money(text: str) -> Decimal:
    return Decimal(text)


def amounts(result: Rated, kind: str) -> list[Decimal]:
    return [abs(Decimal(line["amount"])) for line in steps_of(result) if line["step"] == kind]


def test_a_flat_table_times_one_rating_factor() -> None:
    steps = [{"group": "tier", "field": "quote.credit_tier"}]
    rates = {"BI": "310", "PD": "245", "COLL": "148", "COMP": "85"}
    filed = book(
        *(table(c, base, other_factors={"tier": {"good": "1.45"}}) for c, base in rates.items()), by=plan(steps=steps)
    )
    assert rated(quote(coverages=dict.fromkeys(rates, True)), filed).premium == money("1142.60")


@pytest.mark.parametrize(("decimals", "premium"), [(0, "276"), (2, "275.71")])
def test_texas_with_discounts_and_a_surcharge(decimals: int, premium: str) -> None:
    filed = book(by=plan(rounding=rounding(decimals)), discounts=TEN_THEN_THREE, surcharges=FIFTEEN_MORE)
    result = rated(quote(), filed)
    chain = [running(result, step) for step in ("territory", "vehicle", "driver", "credit")]
    assert chain == [money("230.000"), money("241.500"), money("299.460"), money("269.514")]
    assert amounts(result, "discount") == [money("26.951"), money("7.277")]
    assert amounts(result, "surcharge") == [money("40.427")]
    assert running(result, "surcharge") == money("275.713")
    assert result.premium == money(premium)


@pytest.mark.parametrize(("decimals", "premium"), [(0, "306"), (2, "306.35")])
def test_california_keeps_credit_out_and_says_so(decimals: int, premium: str) -> None:
    filed = book(
        by=plan(rounding=rounding(decimals)),
        discounts=TEN_THEN_THREE,
        surcharges=FIFTEEN_MORE,
        state_rules=[state_rule("credit")],
    )
    result = rated(quote(), filed)
    (credit,) = (line for line in steps_of(result) if line["step"] == "credit")
    assert credit["suppressed"] == state_rule("credit")["id"]
    assert credit["why"] == "prohibited"
    assert amounts(result, "discount") == [money("29.946"), money("8.085")]
    assert amounts(result, "surcharge") == [money("44.919")]
    assert running(result, "surcharge") == money("306.348")
    assert result.premium == money(premium)


def test_a_cap_limits_the_last_discount() -> None:
    rules = [discount("A", "30", priority=1), discount("B", "20", priority=2)]
    result = rated(quote(), book(THOUSAND, by=plan(steps=[], discount_cap_percent="35"), discounts=rules))
    assert amounts(result, "discount") == [money("300.000"), money("50.000")]
    last = steps_of(result)[-1]
    assert (last["rate"], last["capped"]) == ("0.071429", 1)
    assert result.premium == money("650.00")


@pytest.mark.parametrize("first", ["alone", "stackable"])
def test_a_discount_that_does_not_stack_stands_against_those_that_do(first: str) -> None:
    rules = [
        discount("A", "15", stackable=False, priority=1 if first == "alone" else 2),
        discount("B", "10", priority=2 if first == "alone" else 1),
    ]
    result = rated(quote(), book(THOUSAND, by=NO_STEPS, discounts=rules))
    assert amounts(result, "discount") == [money("150.000")]


def test_two_stackable_discounts_may_be_worth_more_than_one_alone() -> None:
    rules = [discount("A", "15", stackable=False), discount("B", "10"), discount("C", "10")]
    result = rated(quote(), book(THOUSAND, by=NO_STEPS, discounts=rules))
    assert amounts(result, "discount") == [money("100.000"), money("90.000")]


@pytest.mark.parametrize(
    ("mode", "premium"), [("half_up", "101"), ("half_even", "100"), ("up", "101"), ("down", "100")]
)
def test_half_is_rounded_as_the_plan_says(mode: str, premium: str) -> None:
    filed = book(table(base="100.500"), by=plan(steps=[], rounding=rounding(0, mode)))
    assert rated(quote(), filed).premium == money(premium)


def test_the_minimum_is_the_least() -> None:
    steps = [{"group": "tier", "factor": f, "field": "quote.credit_tier"} for f in ("a", "b", "c")]
    tiers = {"a": {"good": "0.700"}, "b": {"good": "0.850"}, "c": {"good": "0.900"}}
    filed = book(table(base="40", other_factors={"tier": tiers}, min_premium="25.00"), by=plan(steps=steps))
    result = rated(quote(), filed)
    assert [running(result, f"tier.{f}") for f in "abc"] == [money("28"), money("23.8"), money("21.42")]
    assert steps_of(result)[-1]["step"] == "minimum"
    assert result.premium == money("25.00")


def test_the_maximum_is_the_most_and_is_not_rounded_away() -> None:
    filed = book(table(base="500", max_premium="100.50"), by=plan(steps=[], rounding=rounding(0)))
    assert rated(quote(), filed).premium == money("100.50")


def test_the_policy_is_rounded_as_a_whole_where_the_plan_says_so() -> None:
    tables = [table(c, "10.400") for c in ("BI", "PD")]
    both: dict[str, Any] = {"BI": {}, "PD": {}}
    for per, premium in (("coverage", "20"), ("policy", "21")):
        filed = book(*tables, by=plan(steps=[], rounding=rounding(0, per=per)))
        assert rated(quote(coverages=both), filed).premium == money(premium)


def test_a_coverage_may_round_in_its_own_way() -> None:
    own = {"final": {"decimals": 0, "mode": "up"}}
    filed = book(table(base="10.10", rounding=own), table("PD", "10.10"), by=NO_STEPS)
    assert rated(quote(coverages={"BI": {}, "PD": {}}), filed).coverages == {"BI": money("11"), "PD": money("10.10")}


def test_fees_come_after_rounding_and_bounds() -> None:
    fees = [
        {"code": "POLICY", "amount": "90.00", "per": "policy"},
        {"code": "MVCPA", "amount": "2.50", "per": "vehicle"},
    ]
    filed = book(table(base="10.40"), by=plan(steps=[], fees=fees, rounding=rounding(0), min_premium="25"))
    two = [{"class": "sedan"}, {"class": "sedan"}]
    assert rated(quote(vehicles=two), filed).premium == money("25") + 90 + 5


def test_a_rule_for_the_policy_is_taken_once_however_many_coverages_there_are() -> None:
    rules = [discount("A", "10", discount_type="fixed", applies_to="policy")]
    filed = book(table(base="100"), table("PD", "100"), by=NO_STEPS, discounts=rules)
    assert rated(quote(coverages={"BI": True, "PD": True}), filed).premium == money("190.00")


def test_a_discount_never_takes_more_than_the_premium() -> None:
    filed = book(table(base="8"), by=NO_STEPS, discounts=[discount("A", "10", discount_type="fixed")])
    assert rated(quote(), filed).premium == 0


def test_a_rule_is_worth_its_own_maximum_at_most() -> None:
    filed = book(THOUSAND, by=NO_STEPS, surcharges=[surcharge("S", "20", max_amount="75.50")])
    assert rated(quote(), filed).premium == money("1075.50")


def test_surcharges_are_capped_together() -> None:
    filed = book(
        THOUSAND, by=plan(steps=[], surcharge_cap_percent="25"), surcharges=[surcharge("S", "20"), surcharge("T", "20")]
    )
    assert rated(quote(), filed).premium == money("1250.00")


def test_conditions_choose_whom_a_rule_is_for() -> None:
    condition = {
        "all": [
            {"field": "driver.points", "op": "gte", "value": 3},
            {"not": {"field": "vehicle.use", "op": "eq", "value": "farm"}},
        ]
    }
    filed = book(THOUSAND, by=NO_STEPS, surcharges=[surcharge("S", "10", condition)])
    for points, use, premium in ((3, "farm", 1000), (3, "work", 1100), (2, "work", 1000), (None, "work", 1000)):
        one = quote(drivers=[{"class": "adult", "points": points}], vehicles=[{"class": "sedan", "use": use}])
        assert rated(one, filed).premium == premium


def test_a_rule_may_ask_for_another_ones_conditions() -> None:
    rules = [
        discount("BOTH", "10", {"field": "rule.PAPERLESS", "op": "eq", "value": True}),
        discount("PAPERLESS", "5", {"field": "quote.paperless", "op": "eq", "value": True}, priority=200),
    ]
    filed = book(THOUSAND, by=NO_STEPS, discounts=rules)
    assert rated(quote(paperless=True), filed).premium == money("855.00")
    assert rated(quote(paperless=False), filed).premium == money("1000")


@pytest.mark.parametrize(
    ("restriction", "is_renewal", "factor"),
    [
        ("new_business_only", False, "1.3"),
        ("new_business_only", True, None),
        ("no_renewal_increase", False, "1.3"),
        ("no_renewal_increase", True, "1"),
        ("capped", False, "1.2"),
        ("capped", True, "1.2"),
    ],
)
def test_states_bound_a_factor(restriction: str, is_renewal: bool, factor: str | None) -> None:
    bounds = {"min_factor": "0.9", "max_factor": "1.2"} if restriction == "capped" else {}
    filed = book(table(credit_factors={"good": "1.3"}), state_rules=[state_rule("credit", restriction, **bounds)])
    (line,) = (line for line in steps_of(rated(quote(is_renewal=is_renewal), filed)) if line["step"] == "credit")
    assert line.get("factor") == factor
    assert ("filed" in line, "suppressed" in line) == (factor not in ("1.3", None), factor is None)


def test_a_forbidden_factor_is_found_inside_another_group() -> None:
    steps = [{"group": "driver", "factor": "credit", "field": "driver.credit_tier"}]
    filed = book(
        table(driver_factors={"credit": {"good": "0.5"}}), by=plan(steps=steps), state_rules=[state_rule("credit")]
    )
    assert rated(quote(drivers=[{"credit_tier": "good"}]), filed).premium == money("200.00")


def test_a_discount_by_a_forbidden_field_is_kept_out_and_told() -> None:
    by_credit = discount("A", "10", {"field": "quote.credit_tier", "op": "eq", "value": "good"})
    through = discount("B", "10", {"field": "rule.A", "op": "eq", "value": True})
    filed = book(by=NO_STEPS, discounts=[by_credit, through], state_rules=[state_rule("credit")])
    result = rated(quote(), filed)
    assert result.premium == money("200.00")
    assert [line["code"] for line in steps_of(result) if "suppressed" in line] == ["A", "B"]


@pytest.mark.parametrize(
    ("changed", "code", "names"),
    [
        ({"territory": "999"}, "missing_factor", ["territory_factors", "BI", "quote.territory"]),
        ({"territory": None}, "missing_input", ["quote.territory", "territory"]),
        ({"territory": True}, "bad_input", ["quote.territory", "text"]),
        ({"coverages": {"XX": {}}}, "no_rate", ["XX"]),
        ({"coverages": {"BI": False}}, "no_coverage", []),
        ({"vehicles": []}, "no_vehicle", []),
        ({"drivers": []}, "no_driver", ["vehicle 1"]),
        ({"vehicles": [{"class": "sedan", "driver": "x"}]}, "unknown_driver", ["vehicle 1"]),
        ({"vehicles": ["sedan"]}, "bad_input", ["vehicle 1"]),
    ],
)
def test_what_cannot_be_rated_is_named(changed: dict[str, Any], code: str, names: list[str]) -> None:
    with pytest.raises(Refused) as refused:
        rated(quote(**changed), book())
    assert refused.value.code == code
    for name in names:
        assert name in refused.value.message
    assert "999" not in refused.value.message


def test_a_missing_key_takes_the_plans_default_and_the_trace_says_so() -> None:
    steps = [{**STEPS[0], "default": "1.5"}]
    result = rated(quote(territory="999"), book(by=plan(steps=steps)))
    assert result.premium == money("300.00")
    assert steps_of(result)[1]["key"] == "(default)"


@pytest.mark.parametrize(("score", "premium"), [(0.0, 200), (0.49, 200), (0.5, 220), (1, 260)])
def test_a_score_is_looked_up_by_lower_bounds(score: float, premium: int) -> None:
    steps = [{"group": "ai_risk", "field": "quote.ai_risk_score", "match": "from"}]
    filed = book(table(other_factors={"ai_risk": {"0": "1.0", "0.50": "1.1", "0.8": "1.3"}}), by=plan(steps=steps))
    assert rated(quote(ai_risk_score=score), filed).premium == premium


def test_a_step_is_for_the_coverages_it_names() -> None:
    steps = [{**STEPS[0], "coverages": ["PD"]}]
    result = rated(quote(coverages={"BI": {}, "PD": {}}), book(table(), table("PD"), by=plan(steps=steps)))
    assert result.coverages == {"BI": money("200"), "PD": money("230")}


def test_the_highest_driver_rates_the_highest_vehicle() -> None:
    filed = book(
        table(
            vehicle_factors={"sedan": "1", "sports": "2"}, driver_factors={"adult": "1", "teen": "3", "none": "1.07"}
        ),
        by=plan(assignment={"rule": "highest_to_highest", "unassigned": {"class": "none"}}, steps=STEPS[1:3]),
    )
    sedan, sports, adult, teen = {"class": "sedan"}, {"class": "sports"}, {"class": "adult"}, {"class": "teen"}
    for vehicles, drivers, premium in (
        ([sedan, sports], [adult, teen], 200 + 1200),
        ([sports, sedan], [teen, adult], 200 + 1200),
        ([sedan, sports], [teen], 214 + 1200),
        ([sports], [adult, teen], 1200),
    ):
        result = rated(quote(vehicles=vehicles, drivers=drivers), filed)
        assert result.premium == premium
        assert result.trace.get("unrated_drivers", []) == ([1] if len(drivers) > len(vehicles) else [])


def test_drivers_rate_the_vehicles_they_are_given_to() -> None:
    filed = book(table(driver_factors={"adult": "1", "teen": "3"}), by=plan(steps=STEPS[2:3]))
    drivers = [{"id": "d1", "class": "adult"}, {"driver_id": 7, "class": "teen"}]
    result = rated(quote(vehicles=[{"driver": 7}, {"driver": "d1"}], drivers=drivers), filed)
    assert [unit["driver"] for unit in result.trace["units"]] == [2, 1]
    assert result.premium == 800
