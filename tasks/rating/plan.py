"""The plan of a day, put together from the rows in force: what a premium is computed by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from models.vocabularies import RatingFieldType
from tasks.rating.adjustments import Rule
from tasks.rating.assignment import Assignment
from tasks.rating.conditions import Condition, fields_of, read_condition, rules_of
from tasks.rating.factors import Keyed, Step, filed_factors
from tasks.rating.fields import Field, read_field
from tasks.rating.rounding import Rounding, read_rounding
from tasks.rating.state_rules import StateRule

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Fee:
    code: str
    amount: Decimal
    per: Literal["policy", "vehicle"]


@dataclass(frozen=True, slots=True)
class RateTable:
    """The rates of one coverage. `steps` are those of the plan that apply to it, with the factors filed for them."""

    id: str
    coverage: str
    base_rate: Decimal
    steps: Sequence[tuple[Step, Keyed]]
    step_rounding: Rounding
    final_rounding: Rounding | None
    """None: the policy as a whole is rounded, not the coverage."""

    min_premium: Decimal | None
    max_premium: Decimal | None


@dataclass(frozen=True, slots=True)
class Plan:
    """`version` names the content of every row that takes part, whenever it is in force."""

    id: str
    version: str
    product_type: str
    tables: Mapping[str, RateTable]
    step_rounding: Rounding
    final_rounding: Rounding
    rounds_policy: bool
    fees: Sequence[Fee]
    assignment: Assignment
    discounts: Sequence[Rule]
    surcharges: Sequence[Rule]
    discount_cap: Decimal | None
    surcharge_cap: Decimal | None
    min_premium: Decimal | None
    max_premium: Decimal | None
    rules: Mapping[str, Rule] = field(repr=False)


@dataclass(frozen=True, slots=True)
class InForce:
    """Rows of the rating tables that count on one day, as JSON."""

    plan: Row
    rate_tables: Sequence[Row]
    discount_rules: Sequence[Row]
    surcharge_rules: Sequence[Row]
    state_rules: Sequence[Row]


def read_plan(rows: InForce, version: str, types: Mapping[str, RatingFieldType]) -> Plan:
    """Raises `Refused` with code bad_plan where rows don't fit each other."""
    given = rows.plan
    state_rules = [_state_rule(row) for row in sorted(rows.state_rules, key=lambda row: (row["factor"], row["id"]))]
    steps = [_step(step, state_rules, types) for step in given["steps"]]
    rounding = {place: read_rounding(given["rounding"][place]) for place in ("step", "final")}
    rounds_policy = given["rounding"]["final"]["per"] == "policy"
    final = None if rounds_policy else rounding["final"]
    rules = _rules(rows, steps, state_rules, types)
    return Plan(
        id=given["id"],
        version=version,
        product_type=given["product_type"],
        tables={row["coverage_type"]: _rate_table(row, steps, rounding["step"], final) for row in rows.rate_tables},
        step_rounding=rounding["step"],
        final_rounding=rounding["final"],
        rounds_policy=rounds_policy,
        fees=[Fee(fee["code"], Decimal(fee["amount"]), fee["per"]) for fee in given["fees"]],
        assignment=Assignment(given["assignment"].get("rule", "as_given"), given["assignment"].get("unassigned")),
        discounts=[rule for rule in rules.values() if rule.kind == "discount"],
        surcharges=[rule for rule in rules.values() if rule.kind == "surcharge"],
        discount_cap=_money(given["discount_cap_percent"]),
        surcharge_cap=_money(given["surcharge_cap_percent"]),
        min_premium=_money(given["min_premium"]),
        max_premium=_money(given["max_premium"]),
        rules=rules,
    )


def _money(value: Any) -> Decimal | None:
    return None if value is None else Decimal(value)


def _state_rule(row: Row) -> StateRule:
    low, high = _money(row["min_factor"]), _money(row["max_factor"])
    return StateRule(row["id"], row["factor"], row["restriction"], low, high)


def _step(given: Row, state_rules: Sequence[StateRule], types: Mapping[str, RatingFieldType]) -> Step:
    group, factor = given["group"], given.get("factor")
    read = read_field(given["field"], types)
    return Step(
        name=f"{group}.{factor}" if factor else group,
        group=group,
        factor=factor,
        field=read,
        coverages=frozenset(given["coverages"]) if "coverages" in given else None,
        match=given.get("match", "exact"),
        default=_money(given.get("default")),
        rules=[rule for rule in state_rules if rule.means(group, factor, read.name)],
    )


def _rate_table(row: Row, steps: Sequence[Step], step: Rounding, final: Rounding | None) -> RateTable:
    own = row["rounding"]
    return RateTable(
        id=row["id"],
        coverage=row["coverage_type"],
        base_rate=Decimal(row["base_rate"]),
        steps=[(s, filed_factors(s, row)) for s in steps if s.applies_to(row["coverage_type"])],
        step_rounding=read_rounding(own["step"]) if "step" in own else step,
        final_rounding=read_rounding(own["final"]) if "final" in own else final,
        min_premium=_money(row["min_premium"]),
        max_premium=_money(row["max_premium"]),
    )


def _rules(
    rows: InForce, steps: Sequence[Step], state_rules: Sequence[StateRule], types: Mapping[str, RatingFieldType]
) -> dict[str, Rule]:
    given: list[tuple[Literal["discount", "surcharge"], Row]] = [
        *(("discount", row) for row in rows.discount_rules),
        *(("surcharge", row) for row in rows.surcharge_rules),
    ]
    conditions = {
        row["code"]: read_condition(row["eligibility_rules" if kind == "discount" else "trigger_conditions"], types)
        for kind, row in given
    }
    rules = {}
    for kind, row in sorted(given, key=lambda pair: (pair[1]["priority"], pair[1]["code"])):
        reads = _reads(row["code"], conditions)
        rules[row["code"]] = Rule(
            id=row["id"],
            code=row["code"],
            kind=kind,
            amount_type=row[f"{kind}_type"],
            value=Decimal(row[f"{kind}_value"]),
            condition=conditions[row["code"]],
            is_stackable=row["stackable"],
            priority=row["priority"],
            max_amount=_money(row["max_amount"]),
            applies_to=row["applies_to"],
            reads=reads,
            rules=[rule for rule in state_rules if _is_about(rule, reads, steps)],
        )
    return rules


def _reads(code: str, conditions: Mapping[str, Condition]) -> list[Field]:
    """The fields a rule looks at, itself or through the rules it asks about."""
    found: dict[str, Field] = {}
    seen: set[str] = set()
    waiting = [code]
    while waiting:
        if (code := waiting.pop()) in seen or code not in conditions:
            continue
        seen.add(code)
        found |= {read.full_name: read for read in fields_of(conditions[code])}
        waiting += rules_of(conditions[code])
    return [found[name] for name in sorted(found)]


def _is_about(rule: StateRule, reads: Sequence[Field], steps: Sequence[Step]) -> bool:
    """A discount by credit is use of credit: also where a field is known to be credit only by a step that reads it."""
    return any(
        rule.means(read.name, *(name for step in steps if step.field == read for name in (step.group, step.factor)))
        for read in reads
    )
