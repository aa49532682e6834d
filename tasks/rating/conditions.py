"""JSON rules: whether a discount or surcharge is for this quote.

A comparison with a field that the quote says nothing about is false, `ne` too; `not` turns what is under it around.
"""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from models.vocabularies import RatingFieldType
from tasks.rating.fields import Field, Scopes, Value, read_field

RULE = "rule."


@dataclass(frozen=True, slots=True)
class Comparison:
    field: Field
    op: str
    value: Any

    def holds(self, scopes: Scopes, _: Callable[[str], bool]) -> bool:
        found = self.field.read(scopes)
        if self.op == "exists":
            return (found is not None) is self.value
        return found is not None and _OPERATORS[self.op](found, self.value)


@dataclass(frozen=True, slots=True)
class OtherRule:
    """Whether the conditions of the rule `code` hold, applied or not: so it does not matter which one is looked at
    first."""

    code: str
    is_wanted: bool

    def holds(self, _: Scopes, other: Callable[[str], bool]) -> bool:
        return other(self.code) is self.is_wanted


@dataclass(frozen=True, slots=True)
class All:
    parts: Sequence["Condition"]

    def holds(self, scopes: Scopes, other: Callable[[str], bool]) -> bool:
        return all(part.holds(scopes, other) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Some:
    parts: Sequence["Condition"]

    def holds(self, scopes: Scopes, other: Callable[[str], bool]) -> bool:
        return any(part.holds(scopes, other) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Not:
    part: "Condition"

    def holds(self, scopes: Scopes, other: Callable[[str], bool]) -> bool:
        return not self.part.holds(scopes, other)


Condition = Comparison | OtherRule | All | Some | Not

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
    "in": lambda found, values: found in values,
}


def read_condition(given: Mapping[str, Any], types: Mapping[str, RatingFieldType]) -> Condition:
    """From its JSON, which the database has checked. `{}` always holds. Raises `Refused` for an unknown field."""
    if "all" in given or not given:
        return All([read_condition(part, types) for part in given.get("all", ())])
    if "any" in given:
        return Some([read_condition(part, types) for part in given["any"]])
    if "not" in given:
        return Not(read_condition(given["not"], types))
    name, op, value = given["field"], given["op"], given["value"]
    if name.startswith(RULE):
        return OtherRule(name.removeprefix(RULE), value if op == "eq" else not value)
    field = read_field(name, types)
    if op == "exists":
        return Comparison(field, op, value)
    return Comparison(field, op, [_plain(v) for v in value] if op == "in" else _plain(value))


def fields_of(condition: Condition) -> Iterator[Field]:
    """Every field the condition reads by itself."""
    match condition:
        case Comparison():
            yield condition.field
        case All() | Some():
            for part in condition.parts:
                yield from fields_of(part)
        case Not():
            yield from fields_of(condition.part)


def rules_of(condition: Condition) -> Iterator[str]:
    """Codes of the rules the condition looks at."""
    match condition:
        case OtherRule():
            yield condition.code
        case All() | Some():
            for part in condition.parts:
                yield from rules_of(part)
        case Not():
            yield from rules_of(condition.part)


def _plain(value: Any) -> Value:
    return Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value
