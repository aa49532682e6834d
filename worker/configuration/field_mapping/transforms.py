"""`transformation_rules`: what is done to a value between the answer and our column.

JSON objects in PostgreSQL have no order, so the order is the engine's and always this:

    concat         {"nodes": [paths], "separator": " "}   instead of the source node's value
    array          "first", "last", "count" or {"join": ", "}
    trim           true
    regex_replace  {"pattern": "...", "replacement": "..."} or a list of these; RE2, \\1 to \\9 in replacements
    last           n: the last n characters
    uppercase, lowercase, titlecase    true, one of them
    lookup         {"their word": "our word"}; a word that is not there becomes the default
    date           true, or a format or a list of formats (`dates.FORMATS`)
    integer        true
    decimal        true or {"scale": 2}
    boolean        true, or {"true": ["Y"], "false": ["N"]}
    default        the value where none came

A missing value passes through everything untouched until `default`.
"""

import re
from collections.abc import Callable, Mapping
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from worker.configuration.field_mapping import dates, paths
from worker.configuration.field_mapping.patterns import checked_text, compile_pattern
from worker.configuration.field_mapping.problems import BadRule, Unfit

Rules = Mapping[str, Any]
Step = Callable[[Any], Any]

MAX_WORDS = 500
"""Entries of a lookup or an enumeration."""

_TRUE = frozenset(("1", "t", "true", "y", "yes"))
_FALSE = frozenset(("0", "f", "false", "n", "no"))
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_DECIMAL = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?")
_MAX_SCALE = 10
_REFERENCE = re.compile(r"\\(.?)", re.DOTALL)


def compile_transformation(rules: Rules | None) -> Step:
    """The function that does what the rules say, after `concat`. Raises `BadRule`; the function raises `Unfit`."""
    rules = checked_names(rules, _BUILDERS, "transformation_rules")
    if sum(rules.get(name) is True for name in ("uppercase", "lowercase", "titlecase")) > 1:
        raise BadRule("transformation_rules: uppercase, lowercase and titlecase exclude each other")
    if sum(name in rules for name in ("date", "integer", "decimal", "boolean")) > 1:
        raise BadRule("transformation_rules: date, integer, decimal and boolean exclude each other")
    built = ((name, build(rules[name], rules)) for name, build in _BUILDERS.items() if name in rules)
    steps = tuple(step for name, step in built if step is not None and name != "default")
    default = rules.get("default")

    def transform(value: Any) -> Any:
        for step in steps:
            if value is None or value == "":
                break
            value = step(value)
        return default if value is None or value == "" else value

    return transform


def concat_of(rules: Rules | None) -> tuple[tuple[str, ...], str] | None:
    """The nodes that are joined, and what stands between them; None for the one source node. Raises `BadRule`."""
    given = (rules or {}).get("concat")
    if given is None:
        return None
    nodes: object = None
    separator: object = None
    if isinstance(given, dict) and not given.keys() - {"nodes", "separator"}:
        nodes, separator = given.get("nodes"), given.get("separator", " ")
    if not isinstance(nodes, list) or not 2 <= len(nodes) <= 10 or not _is_separator(separator):
        raise BadRule('concat must be {"nodes": [two to ten paths], "separator": "at most ten characters"}')
    for node in nodes:
        if not isinstance(node, str) or not paths.is_path(node):
            raise BadRule("concat joins nodes by their paths")
    return tuple(nodes), str(separator)


def text_of(value: Any) -> str:
    """A scalar as text. Raises `Unfit` for what is none."""
    if type(value) is str:
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, int | Decimal):
        return f"{value:f}" if isinstance(value, Decimal) else str(value)
    raise Unfit("not_text")


def integer_of(value: Any) -> int:
    """A whole number, also from text. Raises `Unfit`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return int(value)
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        return int(value)
    raise Unfit("not_an_integer")


def decimal_of(value: Any) -> Decimal:
    """A number, also from text. Raises `Unfit`."""
    if isinstance(value, Decimal) and value.is_finite():
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    if isinstance(value, str) and _DECIMAL.fullmatch(value.strip()):
        return Decimal(value.strip())
    raise Unfit("not_a_number")


_read_usual = dates.reader()


def date_of(value: Any, read: Callable[[str], date | None] = _read_usual) -> date | None:
    """A day, also from text; None for a date of zeros. Raises `Unfit`."""
    if isinstance(value, date):
        return value
    if isinstance(value, str):
        return read(value.strip())
    raise Unfit("not_a_date")


def checked_names(rules: object, known: Mapping[str, Any], name: str) -> Rules:
    """The rules, if they are an object of known names. Raises `BadRule`."""
    if rules is None:
        return {}
    if not isinstance(rules, dict):
        raise BadRule(f"{name} must be a JSON object")
    if unknown := sorted(rules.keys() - known.keys()):
        raise BadRule(f"{name}: there is no rule {', '.join(map(repr, unknown))}; there are {', '.join(known)}")
    return rules


def is_scalar(value: object) -> bool:
    """Text, a number, or true and false."""
    return isinstance(value, str | int | Decimal | bool)


def _is_separator(given: object) -> bool:
    return isinstance(given, str) and len(given) <= 10


def _concat(_given: object, rules: Rules) -> None:
    concat_of(rules)


def _array(given: object, _rules: Rules) -> Step:
    separator = given["join"] if isinstance(given, dict) and given.keys() == {"join"} else None
    if given not in ("first", "last", "count") and not _is_separator(separator):
        raise BadRule('array must be "first", "last", "count" or {"join": "at most ten characters"}')

    def reduce(value: Any) -> Any:
        items = [item for item in (value if isinstance(value, list) else [value]) if item is not None]
        if given == "count":
            return len(items)
        if not items:
            return None
        if separator is not None:
            return separator.join(text_of(item) for item in items)
        return items[0 if given == "first" else -1]

    return reduce


def _flag(step: Callable[[str], str]) -> Callable[[object, Rules], Step | None]:
    def build(given: object, _rules: Rules) -> Step | None:
        if not isinstance(given, bool):
            raise BadRule("trim, uppercase, lowercase and titlecase must be true or false")
        return (lambda value: step(text_of(value))) if given else None

    return build


def _regex_replace(given: object, _rules: Rules) -> Step:
    replacements: list[Any] = given if isinstance(given, list) else [given]
    if not 1 <= len(replacements) <= 5 or not all(
        isinstance(one, dict) and one.keys() == {"pattern", "replacement"} and isinstance(one["replacement"], str)
        for one in replacements
    ):
        raise BadRule('regex_replace must be {"pattern": "...", "replacement": "..."} or a list of at most five')
    programs = []
    for one in replacements:
        program = compile_pattern(one["pattern"], "the pattern of regex_replace")
        for reference in _REFERENCE.findall(one["replacement"]):
            if not reference.isdecimal() or int(reference) > program.groups:
                raise BadRule(f"the replacement of regex_replace names a group \\{reference} that its pattern lacks")
        if len(one["replacement"]) > 100:
            raise BadRule("the replacement of regex_replace is longer than 100 characters")
        programs.append((program, one["replacement"]))

    def replace(value: Any) -> str:
        text = text_of(value)
        for program, replacement in programs:
            text = program.sub(replacement, checked_text(text))
        return text

    return replace


def _last(given: object, _rules: Rules) -> Step:
    if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= 1000:
        raise BadRule("last must be a number of characters from 1 to 1000")
    return lambda value: text_of(value)[-given:]


def _lookup(given: object, rules: Rules) -> Step:
    if not isinstance(given, dict) or not given or len(given) > MAX_WORDS or not all(map(is_scalar, given.values())):
        raise BadRule(f"lookup must be an object of one to {MAX_WORDS} words, each with our word for it")
    has_default = "default" in rules

    def look_up(value: Any) -> Any:
        word = text_of(value)
        if word not in given and not has_default:
            raise Unfit("not_in_lookup")
        return given.get(word)

    return look_up


def _date(given: object, _rules: Rules) -> Step:
    formats: list[Any] = list(dates.USUAL) if given is True else given if isinstance(given, list) else [given]
    if not formats or not all(one in dates.FORMATS for one in formats):
        raise BadRule(f"date must be true or formats out of {', '.join(dates.FORMATS)}")
    read = dates.reader(formats)
    return lambda value: date_of(value, read)


def _integer(given: object, _rules: Rules) -> Step:
    if given is not True:
        raise BadRule("integer must be true")
    return integer_of


def _decimal(given: object, _rules: Rules) -> Step:
    if given is True:
        return decimal_of
    scale = given.get("scale") if isinstance(given, dict) and given.keys() == {"scale"} else None
    if isinstance(scale, bool) or not isinstance(scale, int) or not 0 <= scale <= _MAX_SCALE:
        raise BadRule(f'decimal must be true or {{"scale": 0 to {_MAX_SCALE}}}')
    unit = Decimal(1).scaleb(-scale)

    def round_(value: Any) -> Decimal:
        number = decimal_of(value)
        if number.adjusted() > 17:
            raise Unfit("not_a_number")
        return number.quantize(unit, ROUND_HALF_UP)

    return round_


def _boolean(given: object, _rules: Rules) -> Step:
    true, false = _TRUE, _FALSE
    if given is not True:
        lists = [given.get("true"), given.get("false")] if isinstance(given, dict) else []
        if len(lists) != 2 or not all(
            isinstance(words, list) and words and all(isinstance(word, str) for word in words) for words in lists
        ):
            raise BadRule('boolean must be true or {"true": [words], "false": [words]}')
        true, false = (frozenset(word.strip().casefold() for word in words) for words in lists if words)
        if true & false:
            raise BadRule("boolean: one word can't mean true and false")

    def judge(value: Any) -> bool:
        word = text_of(value).strip().casefold()
        if word not in true and word not in false:
            raise Unfit("not_a_boolean")
        return word in true

    return judge


def _default(given: object, _rules: Rules) -> None:
    if not is_scalar(given) or given == "":
        raise BadRule("default must be text, a number, true or false")


_BUILDERS: dict[str, Callable[[Any, Rules], Step | None]] = {
    "concat": _concat,
    "array": _array,
    "trim": _flag(str.strip),
    "regex_replace": _regex_replace,
    "last": _last,
    "uppercase": _flag(str.upper),
    "lowercase": _flag(str.lower),
    "titlecase": _flag(str.title),
    "lookup": _lookup,
    "date": _date,
    "integer": _integer,
    "decimal": _decimal,
    "boolean": _boolean,
    "default": _default,
}
TRANSFORMATIONS = tuple(_BUILDERS)
