"""The premium a second time, written apart from the engine: fractions instead of decimals, rows instead of a plan.

It knows the rules of the domain notes and shares no code with `tasks.rating`; a mistake would have to be made twice.
"""

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

Document = Mapping[str, Any]


def rounded(amount: Fraction, how: Mapping[str, Any]) -> Fraction:
    units = amount * 10 ** how["decimals"]
    low = math.floor(units)
    rest = units - low
    match how["mode"]:
        case "half_up":
            up = rest >= Fraction(1, 2)
        case "half_even":
            up = rest > Fraction(1, 2) or (rest == Fraction(1, 2) and low % 2 == 1)
        case "up":
            up = rest > 0
        case _:
            up = False
    return Fraction(low + up, 10 ** how["decimals"])


def value_of(field: str, seen: Mapping[str, Document]) -> Any:
    scope, name = field.split(".")
    return seen.get(scope, {}).get(name)


def holds(condition: Document, seen: Mapping[str, Document]) -> bool:
    if not condition:
        return True
    found = value_of(condition["field"], seen)
    if found is None:
        return False
    wanted = condition["value"]
    return bool(found == wanted if condition["op"] == "eq" else found >= wanted)


def factor_of(step: Document, table: Document, seen: Mapping[str, Document], states: list[Document]) -> Fraction:
    rules = [rule for rule in states if rule["factor"] == step["group"]]
    if any(rule["restriction"] == "prohibited" for rule in rules):
        return Fraction(1)
    filed = table.get(f"{step['group']}_factors", table["other_factors"].get(step["group"]))
    found = value_of(step["field"], seen)
    if step.get("match") == "from":
        key = max((k for k in filed if Fraction(k) <= Fraction(str(found))), key=Fraction)
    else:
        key = str(found)
    factor = Fraction(filed[key]) if key in filed else Fraction(step["default"])
    for rule in rules:
        factor = min(max(factor, Fraction(rule["min_factor"])), Fraction(rule["max_factor"]))
    return factor


def worth(rule: Document, kind: str, base: Fraction, left: Fraction, step: Document) -> Fraction:
    value = Fraction(rule[f"{kind}_value"])
    amount = rounded(base * value / 100 if rule[f"{kind}_type"] == "percentage" else value, step)
    if rule["max_amount"] is not None:
        amount = min(amount, Fraction(rule["max_amount"]))
    return min(amount, max(left, Fraction(0)))


def adjustment(
    rules: list[Document], kind: str, factored: Fraction, cap: str | None, step: Document, seen: Mapping[str, Document]
) -> Fraction:
    conditions = "eligibility_rules" if kind == "discount" else "trigger_conditions"
    meant = sorted(
        (rule for rule in rules if holds(rule[conditions], seen)), key=lambda rule: (rule["priority"], rule["code"])
    )
    most = factored if kind == "discount" else factored * 10**9
    if cap is not None:
        most = min(most, rounded(factored * Fraction(cap) / 100, step))
    stacked = Fraction(0)
    for rule in meant:
        if rule["stackable"]:
            base = factored - stacked if kind == "discount" else factored
            stacked += worth(rule, kind, base, most - stacked, step)
    alone = [worth(rule, kind, factored, most, step) for rule in meant if not rule["stackable"]]
    return max([stacked, *alone])


def kept(amount: Fraction, low: str | None, high: str | None) -> Fraction:
    if low is not None:
        amount = max(amount, Fraction(low))
    return amount if high is None else min(amount, Fraction(high))


def pairs(plan: Document, tables: list[Document], document: Document, states: list[Document]) -> list[Any]:
    vehicles, drivers = document["vehicles"], document["drivers"]
    nobody = plan["assignment"].get("unassigned")
    if plan["assignment"].get("rule") != "highest_to_highest":
        by_name = {driver.get("id"): driver for driver in drivers}
        return [(vehicle, by_name.get(vehicle.get("driver"), nobody)) for vehicle in vehicles]

    def rank(scope: str, entry: Document) -> Fraction:
        total = Fraction(0)
        for table in tables:
            product = Fraction(table["base_rate"])
            for step in plan["steps"]:
                if step["field"].startswith(scope):
                    product *= factor_of(step, table, {scope: entry}, states)
            total += product
        return total

    cars = sorted(range(len(vehicles)), key=lambda n: (-rank("vehicle", vehicles[n]), str(sorted(vehicles[n].items()))))
    people = sorted(drivers, key=lambda d: (-rank("driver", d), str(sorted(d.items()))))
    chosen = {car: people[place] if place < len(people) else nobody for place, car in enumerate(cars)}
    return [(vehicle, chosen[number]) for number, vehicle in enumerate(vehicles)]


def premium(filed: Mapping[str, Any], document: Document) -> Fraction:
    """`filed` are the rows by table, `document` the quote as `quote_rating_inputs` gives it."""
    plan, states = filed["plans"][0], filed["state_rules"]
    tables = [table for table in filed["rate_tables"] if table["coverage_type"] in document["coverages"]]
    step, final = plan["rounding"]["step"], plan["rounding"]["final"]
    total = Fraction(0)
    for vehicle, driver in pairs(plan, tables, document, states):
        for table in tables:
            seen = {"quote": document["quote"], "vehicle": vehicle, "driver": driver}
            amount = Fraction(table["base_rate"])
            for one in plan["steps"]:
                if not any(r["factor"] == one["group"] and r["restriction"] == "prohibited" for r in states):
                    amount = rounded(amount * factor_of(one, table, seen, states), step)
            off = adjustment(filed["discount_rules"], "discount", amount, plan["discount_cap_percent"], step, seen)
            on = adjustment(filed["surcharge_rules"], "surcharge", amount, plan["surcharge_cap_percent"], step, seen)
            amount += on - off
            if final["per"] == "coverage":
                amount = rounded(amount, final)
            total += kept(amount, table["min_premium"], table["max_premium"])
    if final["per"] == "policy":
        total = rounded(total, final)
    total = kept(total, plan["min_premium"], plan["max_premium"])
    for fee in plan["fees"]:
        total += Fraction(fee["amount"]) * (1 if fee["per"] == "policy" else len(document["vehicles"]))
    return total
