"""Masking rules: which one counts for a value, and what is wrong with one that can't be used.

A rule matches an exact path, a path with wildcards, a key wherever it stands, or what a text looks like; the earlier
of these, the more it counts, then the lower `priority`. Keys are compared without case and punctuation: `firstName`
is `first_name`. The same checks stand in the database, which refuses a bad rule when it is saved.

A field of an answer that somebody declared personal (`integration_node.pii_class`) is masked where no rule masks it
already; only a rule for its exact path can keep it.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.vocabularies import DataClass, MaskingMatch, MaskingOperator

ITEM = "[*]"
Path = tuple[str, ...]

PERSON_CLASSES = frozenset(
    ("name", "birth_date", "government_id", "license", "street", "contact", "criminal", "physical")
)
"""An object with a key of one of these is about a person: what is not known in it is masked too."""

_PATH = re.compile(r"[\w-]+(\[\*\])*(\.[\w-]+(\[\*\])*)*")
_GLOB = re.compile(r"[\w*-]+(\[\*\])*(\.[\w*-]+(\[\*\])*)*")
_KEY = re.compile(r"[\w -]*[A-Za-z0-9][\w -]*")
_PUNCTUATION = re.compile(r"[\W_]+")
_LIST = re.compile(r"\[\*?\]")

_PARAMS: Mapping[str, Mapping[str, int]] = {
    "partial": {"keep_head": 0, "keep_tail": 0, "min_hidden": 1},
    "bucket": {"width": 1},
    "date_year": {"oldest_year": 1},
}
"""Of each operator the parameters, all whole numbers, with the smallest value each may have."""

_REQUIRED = {"partial": {"min_hidden"}, "bucket": {"width"}}

# What is found by its looks must not look like that any more once it is masked, or masking would never end.
_OPERATORS_OF_VALUES = ("redact", "remove", "hmac")


_OPERATOR_OF_CLASS: Mapping[DataClass, tuple[MaskingOperator, Mapping[str, Any]]] = {
    "birth_date": ("date_year", {"oldest_year": 1936}),
    "government_id": ("remove", {}),
    "license": ("hmac", {}),
    "physical": ("remove", {}),
    "network": ("truncate_ip", {}),
}
"""What is done to a field for its class alone, as the rules that are loaded do it; what is not here is redacted."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of `pii_masking_rules`; with a negative id, a personal field of an answer."""

    id: int
    match: MaskingMatch
    pattern: str
    operator: MaskingOperator
    data_class: DataClass
    priority: int = 100
    validator: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"rule {self.id}: {self.match} {self.pattern}" if self.id >= 0 else f"node {-self.id}: {self.pattern}"


def of_node(id_: int, path: str, data_class: DataClass) -> Rule:
    """The rule for a personal field of an answer. Lists on its way are entered, whether the path says so or not."""
    operator, params = _OPERATOR_OF_CLASS.get(data_class, ("redact", {}))
    return Rule(-id_, "path", _LIST.sub("", path), operator, data_class, params=params)


def problem_of(rule: Rule) -> str | None:
    """A sentence about what is wrong with a rule; None for one that can be used."""
    match rule.match:
        case "path" if not _PATH.fullmatch(rule.pattern):
            return "a path is keys with dots between them, [*] behind a list"
        case "glob" if not _GLOB.fullmatch(rule.pattern):
            return "a glob is a path in which * stands for one key or a part of it, ** for any number of them"
        case "key" if not _KEY.fullmatch(rule.pattern):
            return "a key is letters, digits, spaces, _ and -"
        case "value":
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")  # [[:alpha:]] is PostgreSQL's, and something else to Python
                    expression = re.compile(rule.pattern)
            except (re.error, Warning):
                return "its pattern is no regular expression"
            if expression.search(""):
                return "its expression matches the empty text, and so everything"
            if rule.operator not in _OPERATORS_OF_VALUES:
                return f"a value rule takes one of {', '.join(_OPERATORS_OF_VALUES)}"
    if rule.validator is not None and (rule.match != "value" or rule.validator not in VALIDATORS):
        return f"only a value rule has a validator, one of {', '.join(VALIDATORS)}"
    allowed = _PARAMS.get(rule.operator, {})
    for name, value in rule.params.items():
        if name not in allowed:
            return f"{rule.operator} has no parameter {name[:50]}"
        if isinstance(value, bool) or not isinstance(value, int) or value < allowed[name]:
            return f"{name} must be a whole number, at least {allowed[name]}"
    if missing := _REQUIRED.get(rule.operator, set()) - set(rule.params):
        return f"{rule.operator} needs {', '.join(missing)}"
    return None


def segments(key: str) -> Path:
    """A key as it is compared. One with dots in it is taken for the path it spells."""
    return tuple(_PUNCTUATION.sub("", part).lower() for part in key.split(".")) or ("",)


class RuleSet:
    """The usable rules of one version, with the personal fields of an integration's answers.

    Results hold parts of an answer, so such a field is known by any end of its path too.
    """

    def __init__(self, rules: Sequence[Rule], nodes: Sequence[Rule] = ()) -> None:
        ordered = sorted(rules, key=lambda rule: (rule.priority, rule.id))
        self.rules = (*ordered, *nodes)
        self._nodes = {whole[n:]: node for node in nodes for whole in (_path(node.pattern),) for n in range(len(whole))}
        self._paths: dict[Path, Rule] = {}
        self._keys: dict[str, Rule] = {}
        self._globs: list[tuple[re.Pattern[str], Rule]] = []
        self._values: list[tuple[re.Pattern[str], Rule]] = []
        for rule in ordered:
            match rule.match:
                case "path":
                    self._paths.setdefault(_path(rule.pattern), rule)
                case "glob":
                    self._globs.append((_expression(rule.pattern), rule))
                case "key":
                    self._keys.setdefault(segments(rule.pattern.replace(".", ""))[-1], rule)
                case "value":
                    self._values.append((re.compile(rule.pattern), rule))

    def at(self, path: Path) -> Rule | None:
        """The rule for a place, by its path and its key."""
        if (rule := self._paths.get(path)) is not None:
            return rule
        general = self._general(path)
        if self._nodes and (general is None or general.operator == "keep"):
            return self._nodes.get(tuple(part for part in path if part != ITEM), general)
        return general

    def _general(self, path: Path) -> Rule | None:
        spelt = "/".join(path)
        for expression, rule in self._globs:
            if expression.fullmatch(spelt):
                return rule
        return self._keys.get(path[-1])

    def of_value(self, value: str) -> Rule | None:
        """The rule for a text by its looks."""
        for expression, rule in self._values:
            is_valid = VALIDATORS[rule.validator] if rule.validator else _is_anything
            if any(is_valid(found[0]) for found in expression.finditer(value)):
                return rule
        return None


def _path(pattern: str) -> Path:
    parts: list[str] = []
    for part in pattern.split("."):
        key, *items = part.split("[")
        parts += [*segments(key), *(ITEM for _ in items)]
    return tuple(parts)


def _expression(pattern: str) -> re.Pattern[str]:
    """A glob as an expression over the path's keys with slashes between them."""
    parts = []
    for part in pattern.split("."):
        key, *items = part.split("[")
        if key == "**":
            parts.append("(?:[^/]+/)*")
            continue
        spelt = "[^/]*".join(re.escape(_PUNCTUATION.sub("", piece).lower()) for piece in key.split("*"))
        if key == "*":
            spelt = "[^/]+"
        parts.append(f"{spelt}/" + re.escape(f"{ITEM}/") * len(items))
    whole = "".join(parts)
    # The last part has no slash behind it; a glob that ends in ** wants at least one key there.
    return re.compile(whole.removesuffix("/") if whole.endswith("/") else whole + "[^/]+")


def _is_anything(_: str) -> bool:
    return True


def _is_social_security_number(value: str) -> bool:
    """As the Social Security Administration gives them out: no area 000, 666 or above 899, no group 00, no serial 0."""
    digits = re.sub(r"\D", "", value)
    return len(digits) == 9 and digits[:3] not in ("000", "666") and digits[3:5] != "00" and digits[5:] != "0000"


def _is_luhn(value: str) -> bool:
    digits = [int(digit) for digit in re.sub(r"\D", "", value)]
    doubled = sum(sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + doubled) % 10 == 0


VALIDATORS = {"ssn": _is_social_security_number, "luhn": _is_luhn}
"""What an expression can't say: whether digits that look like a number are one."""
