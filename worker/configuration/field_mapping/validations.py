"""`validation_rules`: what a transformed value must be, or its field is left as it is and the difference noted.

required                true: a missing value is worth a note
min_length, max_length  characters
pattern                 RE2, found anywhere in the text; anchor it with ^ and $
enum                    a list of words or numbers
min, max                numbers
min_date, max_date      "YYYY-MM-DD", "today", "today-30d", "today+365d"
"""

import re
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from worker.configuration.field_mapping.patterns import checked_text, compile_pattern
from worker.configuration.field_mapping.problems import BadRule, Unfit
from worker.configuration.field_mapping.transforms import (
    MAX_WORDS,
    Rules,
    checked_names,
    date_of,
    decimal_of,
    is_scalar,
    text_of,
)

Check = Callable[[Any, date], bool]
"""Whether a value, not missing, may pass on this day."""

_RELATIVE = re.compile(r"today(?P<days>[+-][0-9]{1,5})?d?")
_MAX_LENGTH = 10_000


def compile_validation(rules: Rules | None) -> Callable[[Any, date], None]:
    """The function that raises `Unfit` with the rule's name for a value that breaks one. Raises `BadRule`."""
    rules = checked_names(rules, _BUILDERS, "validation_rules")
    for low, high in (("min_length", "max_length"), ("min", "max")):
        if low in rules and high in rules and _number(rules[low], low) > _number(rules[high], high):
            raise BadRule(f"validation_rules: {low} is above {high}")
    is_required = rules.get("required", False)
    if not isinstance(is_required, bool):
        raise BadRule("required must be true or false")
    checks = [(name, build(rules[name], name)) for name, build in _BUILDERS.items() if build and name in rules]

    def validate(value: Any, today: date) -> None:
        if value is None or value == "":
            if is_required:
                raise Unfit("required")
            return
        for name, passes in checks:
            if not passes(value, today):
                raise Unfit(name)

    return validate


def _length(given: object, name: str) -> Check:
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given <= _MAX_LENGTH:
        raise BadRule(f"{name} must be a number of characters up to {_MAX_LENGTH}")
    if name == "min_length":
        return lambda value, _: len(text_of(value)) >= given
    return lambda value, _: len(text_of(value)) <= given


def _pattern(given: object, name: str) -> Check:
    program = compile_pattern(given, name)
    return lambda value, _: program.search(checked_text(text_of(value))) is not None


def _enum(given: object, name: str) -> Check:
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_WORDS or not all(map(is_scalar, given)):
        raise BadRule(f"{name} must be a list of one to {MAX_WORDS} words or numbers")
    words = frozenset(text_of(word) for word in given)
    return lambda value, _: text_of(value) in words


def _range(given: object, name: str) -> Check:
    bound = _number(given, name)
    if name == "min":
        return lambda value, _: decimal_of(value) >= bound
    return lambda value, _: decimal_of(value) <= bound


def _date_range(given: object, name: str) -> Check:
    bound = _day(given, name)
    is_lower = name == "min_date"

    def passes(value: Any, today: date) -> bool:
        day = date_of(value)
        if day is None:
            return False
        return day >= bound(today) if is_lower else day <= bound(today)

    return passes


def _day(given: object, name: str) -> Callable[[date], date]:
    if isinstance(given, str):
        if relative := _RELATIVE.fullmatch(given):
            days = timedelta(days=int(relative["days"] or 0))
            return lambda today: today + days
        try:
            fixed = date.fromisoformat(given)
        except ValueError:
            pass
        else:
            return lambda _: fixed
    raise BadRule(f'{name} must be a date as "2026-01-31", or "today", "today-30d", "today+30d"')


def _number(given: object, name: str) -> Decimal:
    if isinstance(given, bool) or not isinstance(given, int | Decimal):
        raise BadRule(f"{name} must be a number")
    return Decimal(given)


_BUILDERS: dict[str, Callable[[Any, str], Check] | None] = {
    "required": None,
    "min_length": _length,
    "max_length": _length,
    "pattern": _pattern,
    "enum": _enum,
    "min": _range,
    "max": _range,
    "min_date": _date_range,
    "max_date": _date_range,
}
VALIDATIONS = tuple(_BUILDERS)
