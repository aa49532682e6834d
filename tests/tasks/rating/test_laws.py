"""Laws of the premium: what must hold for every plan and every quote."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.rating.inputs import QuoteInputs
from tasks.rating.premium import Rated, rate
from tasks.rating.refusal import Refused
from tests.tasks.rating.filed import DAY, book, plan, quote, rated, state_rule, table
from tests.tasks.rating.test_agreement import dice_of, random_quote, random_rows

STATES = (
    "AL AK AZ AR CA CO CT DE FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH OK OR PA"
    " RI SC SD TN TX UT VT VA WA WV WI WY DC"
)

seeds = st.integers(0, 2**32)


def result_of(rows: dict[str, Any], document: dict[str, Any]) -> Rated:
    filed = book(
        *rows["rate_tables"],
        by=rows["plans"][0],
        discounts=rows["discount_rules"],
        surcharges=rows["surcharge_rules"],
        state_rules=rows["state_rules"],
    )
    inputs = QuoteInputs(document["quote"], document["coverages"], document["vehicles"], document["drivers"], {})
    return rate(inputs, filed.plan_on(DAY))


def as_bytes(result: Rated) -> bytes:
    return orjson.dumps(
        [f"{result.premium}", {name: f"{part}" for name, part in result.coverages.items()}, result.trace]
    )


@given(seeds)
def test_same_input_same_bytes_in_whatever_order_the_rows_come(seed: int) -> None:
    dice = dice_of(seed)
    rows, document = random_rows(dice), random_quote(dice)
    before = as_bytes(result_of(rows, document))
    for part in ("rate_tables", "discount_rules", "surcharge_rules", "state_rules"):
        dice.shuffle(rows[part])
    coverages = list(document["coverages"].items())
    dice.shuffle(coverages)
    assert as_bytes(result_of(rows, document | {"coverages": dict(coverages)})) == before


@given(seeds)
def test_the_order_of_vehicles_and_drivers_does_not_change_the_premium(seed: int) -> None:
    dice = dice_of(seed)
    rows, document = random_rows(dice), random_quote(dice)
    before = result_of(rows, document).premium
    for part in ("vehicles", "drivers"):
        dice.shuffle(document[part])
    assert result_of(rows, document).premium == before


@given(seeds, st.integers(1, 20000))
def test_a_higher_factor_never_lowers_the_premium(seed: int, more: int) -> None:
    dice = dice_of(seed)
    rows, document = random_rows(dice), random_quote(dice)
    # Ranks may change who drives what; the law is about a given pair.
    rows["plans"][0]["assignment"]["rule"] = "as_given"
    before = result_of(rows, document).premium
    for filed in rows["rate_tables"]:
        group = dice.choice(["territory_factors", "vehicle_factors", "driver_factors", "credit_factors"])
        key = dice.choice(sorted(filed[group]))
        filed[group][key] = str(Decimal(filed[group][key]) + Decimal(more) / 10000)
    assert result_of(rows, document).premium >= before


def chains(result: Rated) -> Iterator[tuple[Decimal, list[dict[str, Any]]]]:
    for unit in result.trace["units"]:
        for coverage in unit["coverages"].values():
            yield Decimal(coverage["steps"][-1]["running"]), coverage["steps"]
    yield result.premium, result.trace["policy"]


@given(seeds)
def test_the_trace_adds_up(seed: int) -> None:
    dice = dice_of(seed)
    result = result_of(random_rows(dice), random_quote(dice))
    ends = []
    for end, lines in chains(result):
        running = Decimal(0)
        for line in lines:
            running += Decimal(line["amount"])
            assert running == Decimal(line["running"])
        assert running == end
        ends.append(end)
    assert sum(ends[:-1]) == sum(result.coverages.values()) == Decimal(result.trace["policy"][0]["running"])
    assert result.premium == result.premium.quantize(Decimal("0.01"))


@pytest.mark.parametrize("state", STATES.split())
def test_every_state_is_rated_by_its_own_plan_and_rules(state: str) -> None:
    forbids = state in ("CA", "HI", "MA")
    filed = book(state_rules=[state_rule("credit")] if forbids else [], state=state)
    assert rated(quote(), filed).premium == Decimal("299.46" if forbids else "269.51")


def test_an_unknown_state_has_no_plan_to_fall_back_on() -> None:
    filed = book(table(), by=plan(effective_date="2027-01-01"), state="ZZ")
    with pytest.raises(Refused, match="no plan for auto in ZZ"):
        filed.plan_on(DAY)
