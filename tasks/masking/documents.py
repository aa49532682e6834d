"""Masks documents by a set of rules: the structure stays, values are changed where a rule says so.

Closed is what has to be masked unless a rule keeps it: an object about a person, known by its keys, and all below it.
So a field that the provider invents tomorrow does not leak.
"""

from collections import Counter
from typing import Any

from tasks.masking.exact_json import parse
from tasks.masking.operators import Operator, Tokens, is_masked, operator
from tasks.masking.rules import ITEM, PERSON_CLASSES, Path, Rule, RuleSet, segments

_DEEPEST = 60
_MOST_SPOTS = 20_000
_SCALARS = frozenset((str, int, float, bool, type(None)))

UNKNOWN = Rule(0, "key", "unknown fields", "redact", "document")
"""What is done to a field that no rule knows, where the fields around it are about a person."""


class _Spot:
    """A place that documents have, and what is done there. Found once: documents of a kind repeat themselves.

    `rule` is for a value right here; `default` for what lies below and no rule knows; in what is sealed not even the
    keys that may be kept elsewhere are.
    """

    __slots__ = (
        "children",
        "default",
        "depth",
        "is_closed",
        "is_kept",
        "is_person",
        "is_sealed",
        "items",
        "path",
        "person",
        "rule",
    )

    def __init__(self, path: Path, rule: Rule | None, default: Rule | None, *, is_sealed: bool, depth: int) -> None:
        self.path = path
        self.rule = rule
        self.default = default
        self.is_sealed = is_sealed
        self.depth = depth
        self.is_closed = default is not None and default.operator != "keep"
        self.is_kept = rule is not None and rule.operator == "keep"
        self.is_person = rule is not None and rule.data_class in PERSON_CLASSES
        self.person: _Spot | None = None
        self.items: _Spot | None = None
        self.children: dict[str, _Spot] = {}


class Masker:
    """Masks what it is given. `counts` says how many values each rule has changed, by the rule's id."""

    def __init__(self, rules: RuleSet, tokens: Tokens, counts: Counter[int] | None = None) -> None:
        self._rules = rules
        self._operators: dict[int, Operator] = {
            rule.id: operator(rule.operator, rule.params, rule.data_class, tokens) for rule in (UNKNOWN, *rules.rules)
        }
        self._open, self._closed = _root(None), _root(UNKNOWN)
        self._spots = 0
        self.counts: Counter[int] = Counter() if counts is None else counts

    def document(self, value: Any) -> Any:
        """A document; text that is no document may say anything, so it is masked whole."""
        if isinstance(value, str):
            return self._changed(UNKNOWN, value)
        self._forget()
        return self._value(self._open, value)

    def stored(self, said: str) -> Any:
        """A document as PostgreSQL spells it."""
        return self.document(parse(said))

    def field(self, name: str, value: Any) -> Any:
        """What a personal column holds, by the rule for its name; without one it is masked whole."""
        spot = self._closed
        return self._value(spot.children.get(name) or self._child(spot, name), value)

    def _forget(self) -> None:
        """Somebody's keys may be data: begin anew, rather than grow."""
        if self._spots > _MOST_SPOTS:
            self._open, self._spots = _root(None), 0

    def _value(self, spot: _Spot, value: Any) -> Any:
        if type(value) is dict:
            return self._object(spot, value)
        if type(value) is list:
            if spot.depth > _DEEPEST:
                return None
            items = spot.items or self._items(spot)
            return [self._value(items, item) for item in value]
        if value is None:
            return None
        return self._leaf(spot, value)

    def _object(self, spot: _Spot, value: dict[str, Any]) -> Any:
        if spot.depth > _DEEPEST:
            return None
        if not spot.is_closed:
            for key in value:
                if (spot.children.get(key) or self._child(spot, key)).is_person:
                    spot = spot.person or self._as_person(spot)
                    break
        children, masked = spot.children, {}
        for key, inner in value.items():
            child = children.get(key) or self._child(spot, key)
            # Most values are kept as they are: said here, it costs no call.
            masked[key] = inner if child.is_kept and type(inner) in _SCALARS else self._value(child, inner)
        return masked

    def _leaf(self, spot: _Spot, value: Any) -> Any:
        rule = spot.rule
        if rule is None:
            # What is closed is masked whatever it looks like, and by one rule only: so it is the same rule every time.
            if type(value) is str and not spot.is_closed:
                rule = self._of_value(value)
            if rule is None and (rule := spot.default) is None:
                return value
        return value if rule.operator == "keep" else self._changed(rule, value)

    def _of_value(self, value: str) -> Rule | None:
        rule = self._rules.of_value(value)
        return None if rule is None or is_masked(value) else rule

    def _changed(self, rule: Rule, value: Any) -> Any:
        masked = self._operators[rule.id](value)
        if masked != value:
            self.counts[rule.id] += 1
        return masked

    def _child(self, spot: _Spot, key: str) -> _Spot:
        path = (*spot.path, *segments(key))
        rule = self._rules.at(path)
        if rule is not None and rule.operator == "keep" and rule.match == "key":
            # A key keeps a value, never a whole object: it was written with a value in mind.
            rule = None if spot.is_sealed else rule
            child = self._spot(path, rule, spot.default, spot)
        elif rule is not None:
            child = self._spot(path, rule, rule, spot)
            child.is_sealed = rule.operator != "keep" and (spot.is_sealed or rule.data_class != "document")
        else:
            child = self._spot(path, None, spot.default, spot)
        spot.children[key] = child
        return child

    def _items(self, spot: _Spot) -> _Spot:
        path = (*spot.path, ITEM)
        own = self._rules.at(path)
        spot.items = self._spot(path, own or spot.rule, own or spot.default, spot)
        return spot.items

    def _as_person(self, spot: _Spot) -> _Spot:
        spot.person = self._spot(spot.path, spot.rule, UNKNOWN, spot)
        return spot.person

    def _spot(self, path: Path, rule: Rule | None, default: Rule | None, above: _Spot) -> _Spot:
        self._spots += 1
        return _Spot(path, rule, default, is_sealed=above.is_sealed, depth=above.depth + 1)


def _root(default: Rule | None) -> _Spot:
    return _Spot((), None, default, is_sealed=False, depth=0)
