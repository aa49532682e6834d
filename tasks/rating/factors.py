"""One step of the chain: which number a coverage's premium is multiplied by, and where it comes from."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, NamedTuple

from tasks.rating.fields import Field, Scopes, as_key
from tasks.rating.refusal import Refused
from tasks.rating.state_rules import StateRule, forbidding

OWN_COLUMNS = ("territory", "vehicle", "driver", "credit")


@dataclass(frozen=True, slots=True)
class Step:
    """A factor of the plan. `default` stands in for a key that is not filed; `rules` are the state's about it."""

    name: str
    group: str
    factor: str | None
    field: Field
    coverages: frozenset[str] | None
    match: Literal["exact", "from"]
    default: Decimal | None
    rules: Sequence[StateRule]

    def applies_to(self, coverage: str) -> bool:
        return self.coverages is None or coverage in self.coverages


@dataclass(frozen=True, slots=True)
class Keyed:
    """Filed factors of one step in one rate table, by key; `source` says where in the table. `bounds` are the keys as
    numbers, rising, where they are lower bounds."""

    source: str
    factors: Mapping[str, Decimal]
    bounds: Sequence[tuple[Decimal, str]] = ()


class Found(NamedTuple):
    """`key` None: the plan's default. `filed` is what stood there before a state rule bounded it."""

    key: str | None
    factor: Decimal
    filed: Decimal
    rule: StateRule | None = None


@dataclass(frozen=True, slots=True)
class Suppressed:
    """The state lets the step play no part."""

    rule: StateRule


def filed_factors(step: Step, table: Mapping[str, Any]) -> Keyed:
    """The step's factors in a row of `rate_tables`; empty where none are filed. Raises `Refused`."""
    own = step.group in OWN_COLUMNS
    group = table[f"{step.group}_factors"] if own else table["other_factors"].get(step.group, {})
    given = group if step.factor is None else group.get(step.factor, {})
    column = f"{step.group}_factors" if own else f"other_factors.{step.group}"
    source = column if step.factor is None else f"{column}.{step.factor}"
    if any(isinstance(value, dict) for value in given.values()):
        raise Refused("bad_plan", f"{source} of rate table {table['id']} holds several factors: the plan names none")
    factors = {key: Decimal(value) for key, value in given.items()}
    if step.match == "exact":
        return Keyed(source, factors)
    try:
        return Keyed(source, factors, sorted((Decimal(key), key) for key in factors))
    except InvalidOperation:
        raise Refused("bad_plan", f"{source} of rate table {table['id']} has a key that is no number") from None


def look_up(step: Step, coverage: str, filed: Keyed, scopes: Scopes, *, is_renewal: bool) -> Found | Suppressed:
    """The step's factor for what is in sight.

    Raises `Refused` with code missing_input or missing_factor where the plan has no default: there is no silent 1.
    """
    if step.rules and (rule := forbidding(step.rules, is_renewal=is_renewal)):
        return Suppressed(rule)
    value = step.field.read(scopes)
    key: str | None = None
    if value is not None:
        if step.match == "exact":
            key = as_key(value)
        elif (place := bisect_right(filed.bounds, value, key=lambda bound: bound[0])) > 0:
            key = filed.bounds[place - 1][1]
    number = filed.factors.get(key) if key is not None else None
    if number is None:
        if step.default is None:
            raise _missing(step, filed.source, coverage, value)
        key, number = None, step.default
    factor, bound = number, None
    for rule in step.rules:
        if (bounded := rule.bounded(factor, is_renewal=is_renewal)) != factor:
            factor, bound = bounded, rule
    return Found(key, factor, number, bound)


def _missing(step: Step, source: str, coverage: str, value: object) -> Refused:
    if value is None:
        return Refused(
            "missing_input", f"the quote lacks {step.field.full_name}, which {step.name} of {coverage} is rated by"
        )
    return Refused(
        "missing_factor",
        f"{source} of coverage {coverage} has no factor for this {step.field.full_name}",
        f"{step.field.full_name} is {value}",
    )
