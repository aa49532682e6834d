"""Discounts and surcharges on a premium, both measured on the factored premium, so that their order cannot matter.

Stackable discounts follow each other by priority and code, each on what the ones before have left; surcharges are each
on the whole. A rule that is not stackable applies alone: the dearest single one against all stackable ones together,
whichever is more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, NamedTuple

from models.vocabularies import RuleAmountType, RuleScope
from tasks.rating.conditions import Condition
from tasks.rating.fields import Field
from tasks.rating.rounding import Rounding
from tasks.rating.state_rules import StateRule

HUNDRED = Decimal(100)
ZERO = Decimal(0)
_RATE = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Rule:
    """`value` is percent or US dollars. `reads` are the fields it looks at, itself or through other rules."""

    id: str
    code: str
    kind: Literal["discount", "surcharge"]
    amount_type: RuleAmountType
    value: Decimal
    condition: Condition
    is_stackable: bool
    priority: int
    max_amount: Decimal | None
    applies_to: RuleScope
    reads: Sequence[Field] = ()
    rules: Sequence[StateRule] = ()
    """The state's about something it reads."""

    @property
    def order(self) -> tuple[int, str]:
        return self.priority, self.code


class Adjustment(NamedTuple):
    """What one rule is worth. `rate` is the filed share of its base, and what was really taken where it was capped or
    a fixed amount."""

    rule: Rule
    amount: Decimal
    rate: Decimal
    is_capped: bool


def adjustments(
    rules: Sequence[Rule], factored: Decimal, cap_percent: Decimal | None, rounding: Rounding
) -> list[Adjustment]:
    """Those of the rules (all discounts or all surcharges, all meant for this quote) that apply, with their amounts.

    `cap_percent` of `factored` is the most they may be worth together; a discount is never more than the premium.
    """
    if not rules:
        return []
    is_discount = rules[0].kind == "discount"
    cap = factored if is_discount else None
    if cap_percent is not None:
        limit = rounding(factored * cap_percent / HUNDRED)
        cap = limit if cap is None else min(cap, limit)
    ordered = sorted(rules, key=lambda rule: rule.order)
    together: list[Adjustment] = []
    total = ZERO
    for rule in ordered:
        if rule.is_stackable:
            base = factored - total if is_discount else factored
            together.append(_worth(rule, base, None if cap is None else cap - total, rounding))
            total += together[-1].amount
    best, most = together, total
    for rule in ordered:
        if not rule.is_stackable and (alone := _worth(rule, factored, cap, rounding)).amount > most:
            best, most = [alone], alone.amount
    return [adjustment for adjustment in best if adjustment.amount]


def _worth(rule: Rule, base: Decimal, left: Decimal | None, rounding: Rounding) -> Adjustment:
    full = rounding(base * rule.value / HUNDRED if rule.amount_type == "percentage" else rule.value)
    amount = full if rule.max_amount is None else min(full, rule.max_amount)
    if left is not None:
        amount = min(amount, max(left, ZERO))
    is_capped = amount < full
    if rule.amount_type == "percentage" and not is_capped:
        rate = rule.value / HUNDRED
    else:
        rate = (amount / base).quantize(_RATE) if base else ZERO
    return Adjustment(rule, amount, rate, is_capped)
