"""The premium of one quote, with every step that led to it.

Base rate times the plan's factors in their order, each product rounded; discounts off and surcharges on, both measured
on the factored premium; rounded, then kept between minimum and maximum. Coverages and vehicles are added up, the same
is done to the whole policy, and fees come last.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from typing import Any

from tasks.rating.adjustments import Rule, adjustments
from tasks.rating.assignment import Pair, assign
from tasks.rating.factors import Suppressed, look_up
from tasks.rating.fields import Scopes
from tasks.rating.inputs import QuoteInputs
from tasks.rating.plan import Plan, RateTable
from tasks.rating.refusal import Refused
from tasks.rating.rounding import Rounding
from tasks.rating.state_rules import forbidding

ZERO = Decimal(0)
LARGEST = Decimal(10) ** 9
"""Premiums from here on are a mistake, and more than the column holds."""

_EXACT = Context(prec=60)
"""Enough digits for every product before it is rounded: nothing is rounded but where the plan says so."""

Line = dict[str, str | int]
"""One step of the trace. `amount` is what it adds to the premium, `running` the premium after it, both in dollars."""


@dataclass(frozen=True, slots=True)
class Rated:
    """`premium` in US dollars; `coverages` add up to it together with the policy's own steps in the trace."""

    premium: Decimal
    coverages: Mapping[str, Decimal]
    trace: Mapping[str, Any]


def rate(inputs: QuoteInputs, plan: Plan) -> Rated:
    """Rate a quote by a plan. Raises `Refused` where it can't be rated by it."""
    with localcontext(_EXACT):
        tables = [_table(plan, coverage) for coverage in sorted(inputs.coverages)]
        if not tables:
            raise Refused("no_coverage", "the quote has no coverage selected")
        units, pairs, idle = [], _pairs(inputs, plan, tables), set(range(1, len(inputs.drivers) + 1))
        totals: dict[str, Decimal] = {}
        for pair in pairs:
            lines = {}
            for table in tables:
                chain = _coverage(inputs, plan, table, pair)
                lines[table.coverage] = {"rate_table": table.id, "steps": chain.lines}
                totals[table.coverage] = totals.get(table.coverage, ZERO) + chain.running
            units.append({"vehicle": pair.vehicle, "driver": pair.driver, "coverages": lines})
            idle.discard(pair.driver or 0)
        policy = _policy(inputs, plan, sum(totals.values(), ZERO), len(inputs.vehicles))
        trace: dict[str, Any] = {"plan": plan.id, "units": units, "policy": policy.lines}
        if plan.product_type == "auto" and idle:
            trace["unrated_drivers"] = sorted(idle)
        return Rated(policy.running, totals, trace)


def _table(plan: Plan, coverage: str) -> RateTable:
    if coverage not in plan.tables:
        raise Refused("no_rate", f"there is no rate table for coverage {coverage}")
    return plan.tables[coverage]


def _pairs(inputs: QuoteInputs, plan: Plan, tables: Sequence[RateTable]) -> list[Pair]:
    if plan.product_type != "auto":
        driver = inputs.drivers[0] if len(inputs.drivers) == 1 else {}
        return [Pair(0, None, {}, driver)]
    if not inputs.vehicles:
        raise Refused("no_vehicle", "the quote has no vehicle")

    def rank(scope: str, entry: Mapping[str, Any]) -> Decimal:
        """What the coverages would cost by this entry's own factors alone."""
        scopes = {"quote": inputs.quote, scope: entry}
        total = ZERO
        for table in tables:
            product = table.base_rate
            for step, filed in table.steps:
                if step.field.scope == scope:
                    found = look_up(step, table.coverage, filed, scopes, is_renewal=inputs.is_renewal)
                    product *= 1 if isinstance(found, Suppressed) else found.factor
            total += product
        return total

    return assign(
        plan.assignment,
        inputs.vehicles,
        inputs.drivers,
        lambda vehicle: rank("vehicle", vehicle),
        lambda driver: rank("driver", driver),
    )


class _Chain:
    """A premium on its way, and the lines that explain it."""

    def __init__(self, step: str, start: Decimal) -> None:
        self.lines: list[Line] = []
        self.running = ZERO
        self.move(start, step=step)

    def move(self, after: Decimal, **facts: Any) -> None:
        if after >= LARGEST:
            raise Refused("too_large", f"the premium goes beyond {LARGEST:,}")
        self.lines.append({**facts, "amount": f"{after - self.running:f}", "running": f"{after:f}"})
        self.running = after

    def adjust(self, plan: Plan, scopes: Scopes, rounding: Rounding, applies_to: str, *, is_renewal: bool) -> bool:
        """Discounts and surcharges; whether there were any."""
        factored, eligible = self.running, _Eligible(plan, scopes)
        found = []
        for rules, cap in ((plan.discounts, plan.discount_cap), (plan.surcharges, plan.surcharge_cap)):
            meant = [rule for rule in rules if rule.applies_to == applies_to and eligible(rule.code)]
            allowed = []
            for rule in meant:
                if forbidden := forbidding(rule.rules, is_renewal=is_renewal):
                    self.move(self.running, step=rule.kind, code=rule.code, suppressed=forbidden.id)
                else:
                    allowed.append(rule)
            found += adjustments(allowed, factored, cap, rounding)
        for one in found:
            amount = -one.amount if one.rule.kind == "discount" else one.amount
            facts = {"capped": 1} if one.is_capped else {}
            self.move(
                self.running + amount,
                step=one.rule.kind,
                code=one.rule.code,
                rule=one.rule.id,
                rate=f"{one.rate:f}",
                **facts,
            )
        return bool(found)

    def close(self, rounding: Rounding | None, least: Decimal | None, most: Decimal | None) -> None:
        """Round, then keep within the bounds, which are filed amounts and are not rounded themselves."""
        if rounding is not None and (rounded := rounding(self.running)) != self.running:
            self.move(rounded, step="rounding")
        if least is not None and self.running < least:
            self.move(least, step="minimum")
        if most is not None and self.running > most:
            self.move(most, step="maximum")


class _Eligible:
    """Whether the conditions of a rule hold, asked by code; each is worked out once."""

    def __init__(self, plan: Plan, scopes: Scopes) -> None:
        self._rules: Mapping[str, Rule] = plan.rules
        self._scopes = scopes
        self._known: dict[str, bool] = {}

    def __call__(self, code: str) -> bool:
        if code not in self._known:
            rule = self._rules.get(code)  # one that is not in force holds for nobody
            self._known[code] = rule is not None and rule.condition.holds(self._scopes, self)
        return self._known[code]


def _coverage(inputs: QuoteInputs, plan: Plan, table: RateTable, pair: Pair) -> _Chain:
    scopes = {
        "quote": inputs.quote,
        "coverage": {**inputs.coverages[table.coverage], "type": table.coverage},
        "vehicle": pair.vehicle_fields,
        "driver": pair.driver_fields,
        "property": inputs.premises,
    }
    chain = _Chain("base", table.base_rate)
    for step, filed in table.steps:
        found = look_up(step, table.coverage, filed, scopes, is_renewal=inputs.is_renewal)
        if isinstance(found, Suppressed):
            chain.move(chain.running, step=step.name, suppressed=found.rule.id, why=found.rule.restriction)
            continue
        facts: Line = {"key": "(default)" if found.key is None else found.key, "factor": f"{found.factor:f}"}
        if found.rule is not None:
            facts |= {"filed": f"{found.filed:f}", "bounded": found.rule.id, "why": found.rule.restriction}
        after = table.step_rounding(chain.running * found.factor)
        chain.move(after, step=step.name, source=filed.source, **facts)
    chain.adjust(plan, scopes, table.step_rounding, "coverage", is_renewal=inputs.is_renewal)
    chain.close(table.final_rounding, table.min_premium, table.max_premium)
    return chain


def _policy(inputs: QuoteInputs, plan: Plan, total: Decimal, vehicles: int) -> _Chain:
    chain = _Chain("coverages", total)
    was_adjusted = chain.adjust(
        plan, {"quote": inputs.quote}, plan.step_rounding, "policy", is_renewal=inputs.is_renewal
    )
    is_rounded = plan.rounds_policy or was_adjusted
    chain.close(plan.final_rounding if is_rounded else None, plan.min_premium, plan.max_premium)
    for fee in plan.fees:
        times = 1 if fee.per == "policy" else vehicles
        chain.move(chain.running + fee.amount * times, step="fee", code=fee.code)
    return chain
