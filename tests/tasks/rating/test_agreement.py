"""A second, independent calculation agrees with the engine, to the last digit, on random quotes of a hundred plans."""

import json
import random
from fractions import Fraction
from typing import Any

from tasks.rating.inputs import read_inputs
from tasks.rating.premium import rate
from tests.tasks.rating import independent
from tests.tasks.rating.filed import DAY, FIELDS, book, discount, plan, rounding, state_rule, surcharge, table

QUOTES, BOOKS = 2_000, 100
TERRITORIES, CLASSES, TIERS = ("101", "102", "103"), ("a", "b", "c"), ("good", "fair")


def dice_of(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - the same quotes each time, nothing secret


def factor(dice: random.Random) -> str:
    return f"{dice.randint(5000, 25000) / 10000:.4f}"


def maybe(dice: random.Random, value: str, chance: float = 0.5) -> str | None:
    return value if dice.random() < chance else None


def random_rules(dice: random.Random, kind: Any, name: str) -> list[dict[str, Any]]:
    conditions = [
        {},
        {"field": "quote.paperless", "op": "eq", "value": True},
        {"field": "driver.points", "op": "gte", "value": 2},
    ]
    return [
        kind(
            f"{name}{number}",
            f"{dice.randint(1, 3000) / 100:.2f}",
            dice.choice(conditions),
            stackable=dice.random() < 0.7,
            priority=dice.randint(1, 3),
            max_amount=maybe(dice, f"{dice.randint(100, 9000) / 100:.2f}", 0.2),
            **{f"{'discount' if kind is discount else 'surcharge'}_type": dice.choice(["percentage", "fixed"])},
        )
        for number in range(dice.randint(0, 4))
    ]


def random_rows(dice: random.Random) -> dict[str, Any]:
    steps = [
        {"group": "territory", "field": "quote.territory", "default": "1.5"},
        {"group": "vehicle", "field": "vehicle.class"},
        {"group": "driver", "field": "driver.class"},
        {"group": "credit", "field": "quote.credit_tier"},
        {"group": "points", "field": "driver.points", "match": "from"},
    ]
    dice.shuffle(steps)
    tables = [
        table(
            coverage,
            f"{dice.randint(1, 999_000_000) / 1_000_000:.6f}",
            territory_factors={key: factor(dice) for key in TERRITORIES[:2]},
            vehicle_factors={key: factor(dice) for key in CLASSES},
            driver_factors={key: factor(dice) for key in CLASSES},
            credit_factors={key: factor(dice) for key in TIERS},
            other_factors={"points": {key: factor(dice) for key in ("0", "1.5", "4")}},
            min_premium=maybe(dice, "40.00"),
            max_premium=maybe(dice, "900.00"),
        )
        for coverage in ("BI", "COLL", "PD")
    ]
    filed = plan(
        steps=steps,
        rounding=rounding(
            dice.randint(0, 2),
            dice.choice(["half_up", "half_even", "up", "down"]),
            dice.choice(["coverage", "policy"]),
            dice.randint(2, 6),
        ),
        fees=[{"code": "P", "amount": "90.00", "per": "policy"}, {"code": "V", "amount": "2.50", "per": "vehicle"}],
        assignment={
            "rule": dice.choice(["highest_to_highest", "as_given"]),
            "unassigned": {"class": "c", "points": 0},
        },
        discount_cap_percent=maybe(dice, "35"),
        surcharge_cap_percent=maybe(dice, "25"),
        min_premium=maybe(dice, "150.00"),
        max_premium=maybe(dice, "3000.00"),
    )
    states = [
        state_rule("credit", "prohibited"),
        state_rule("territory", "capped", min_factor="0.9000", max_factor="1.4000"),
    ]
    return {
        "plans": [filed],
        "rate_tables": tables,
        "discount_rules": random_rules(dice, discount, "D"),
        "surcharge_rules": random_rules(dice, surcharge, "S"),
        "state_rules": [rule for rule in states if dice.random() < 0.4],
        "fields": FIELDS,
    }


def random_quote(dice: random.Random) -> dict[str, Any]:
    drivers = [
        {"id": f"d{n}", "class": dice.choice(CLASSES), "points": dice.randint(0, 6)} for n in range(dice.randint(2, 3))
    ]
    names: list[dict[str, Any]] = [{"driver": f"d{n}"} for n in range(len(drivers))]
    return {
        "quote": {
            "territory": dice.choice(TERRITORIES),
            "credit_tier": dice.choice(TIERS),
            "paperless": dice.random() < 0.5,
        },
        "coverages": {name: {} for name in dice.sample(("BI", "COLL", "PD"), dice.randint(1, 3))},
        "vehicles": [{"class": dice.choice(CLASSES), **dice.choice([*names, {}])} for _ in range(dice.randint(1, 4))],
        "drivers": drivers,
        "property": {},
    }


def test_random_quotes_come_to_the_same_premium() -> None:
    dice = dice_of(20260601)
    differing = []
    for _ in range(BOOKS):
        rows = random_rows(dice)
        filed = book(
            *rows["rate_tables"],
            by=rows["plans"][0],
            discounts=rows["discount_rules"],
            surcharges=rows["surcharge_rules"],
            state_rules=rows["state_rules"],
        ).plan_on(DAY)
        for _ in range(QUOTES // BOOKS):
            document = random_quote(dice)
            result = rate(read_inputs(json.dumps(document)), filed)
            if Fraction(result.premium) != independent.premium(rows, document):
                differing.append((rows, document, result))
    assert len(differing) == 0, differing[0]
