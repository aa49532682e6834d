"""Evaluates the part of PromQL that our alarms and dashboards use, on what processes really expose.

The parser is that of `promql-parser`. What it parses and this can't evaluate is refused, never guessed. `increase` and
`rate` add up what was counted between the scrapes of the range, without a scrape at its very beginning, as since
Prometheus 3; Prometheus also extrapolates to the range's ends.
"""

import operator
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import promql_parser as promql
from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
"""Values by labels. An operation's result has lost its `__name__`."""

NAME = "__name__"
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "==": operator.eq, "!=": operator.ne, ">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le,
}  # fmt: skip
ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": lambda a, b: a / b if b else float("nan"),
}  # fmt: skip
AGGREGATES: Mapping[str, Callable[[Sequence[float]], float]] = {"sum": sum, "max": max, "min": min, "count": len}


@dataclass(frozen=True)
class Scrape:
    """What was exposed at a moment, in seconds."""

    at: float
    series: Vector


def scraped(at: float, *texts: str, **labels: str) -> Scrape:
    """Texts of /metrics as one scrape; `labels` stand on each series, as those of Prometheus' targets do."""
    series: Vector = {}
    for text in texts:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                series[frozenset({**labels, **sample.labels, NAME: sample.name}.items())] = sample.value
    return Scrape(at, series)


def evaluate(expression: str, *scrapes: Scrape) -> Vector:
    """The vector that an expression gives at the last of these scrapes, which stand in order of time."""
    result = _value(promql.parse(expression), scrapes)
    assert isinstance(result, dict), f"{expression} gives no vector"
    return result


def names_in(expression: str) -> set[str]:
    """The metrics that an expression asks for."""
    return {str(selector.name) for selector in selectors_in(expression)}


def selectors_in(expression: str) -> list[promql.VectorSelector]:
    found: list[promql.VectorSelector] = []

    def visit(node: promql.Expr) -> None:
        if isinstance(node, promql.VectorSelector):
            found.append(node)
        elif isinstance(node, promql.MatrixSelector):
            found.append(node.vector_selector)

    promql.walk(promql.parse(expression), visit)
    return found


def _value(node: promql.Expr, scrapes: Sequence[Scrape]) -> Vector | float:
    match node:
        case promql.NumberLiteral():
            return node.val
        case promql.ParenExpr():
            return _value(node.expr, scrapes)
        case promql.VectorSelector():
            return _selected(node, scrapes[-1])
        case promql.AggregateExpr():
            return _aggregated(node, scrapes)
        case promql.Call():
            return _called(node, scrapes)
        case promql.BinaryExpr():
            return _combined(node, _value(node.lhs, scrapes), _value(node.rhs, scrapes))
    raise NotImplementedError(f"{type(node).__name__}: {node.prettify()}")


def _selected(node: promql.VectorSelector, scrape: Scrape) -> Vector:
    assert not node.offset
    assert not node.at

    def fits(labels: Labels) -> bool:
        said = dict(labels)
        return said[NAME] == node.name and all(_matches(m, said.get(m.name, "")) for m in node.matchers.matchers)

    return {labels: value for labels, value in scrape.series.items() if fits(labels)}


def _matches(matcher: promql.Matcher, value: str) -> bool:
    match str(matcher.op):
        case "MatchOp.Equal":
            return value == matcher.value
        case "MatchOp.NotEqual":
            return value != matcher.value
        case "MatchOp.Re":
            return re.fullmatch(matcher.value, value) is not None
    return re.fullmatch(matcher.value, value) is None


def _called(node: promql.Call, scrapes: Sequence[Scrape]) -> Vector:
    name, argument = node.func.name, node.args[0]
    if name in ("increase", "rate"):
        assert isinstance(argument, promql.MatrixSelector)
        seconds = argument.range.total_seconds()
        counted = _increase(argument.vector_selector, [s for s in scrapes if s.at > scrapes[-1].at - seconds])
        return {labels: value / seconds if name == "rate" else value for labels, value in counted.items()}
    vector = _value(argument, scrapes)
    assert isinstance(vector, dict)
    if name == "abs":
        return {_nameless(labels): abs(value) for labels, value in vector.items()}
    if name == "absent":
        assert isinstance(argument, promql.VectorSelector)
        told = {(m.name, m.value) for m in argument.matchers.matchers if str(m.op) == "MatchOp.Equal"}
        return {} if vector else {frozenset(told): 1.0}
    raise NotImplementedError(f"the function {name}")


def _increase(selector: promql.VectorSelector, scrapes: Sequence[Scrape]) -> Vector:
    found: Vector = {}
    for before, after in pairwise(scrapes):
        earlier = _selected(selector, before)
        for labels, value in _selected(selector, after).items():
            if labels in earlier:
                counted = value - earlier[labels] if value >= earlier[labels] else value  # it began at 0 again
                found[_nameless(labels)] = found.get(_nameless(labels), 0.0) + counted
    return found


def _aggregated(node: promql.AggregateExpr, scrapes: Sequence[Scrape]) -> Vector:
    vector = _value(node.expr, scrapes)
    assert isinstance(vector, dict)
    by = node.modifier.labels if node.modifier else []
    assert node.modifier is None or str(node.modifier.type) == "AggModifierType.By"
    groups: defaultdict[Labels, list[float]] = defaultdict(list)
    for labels, value in vector.items():
        groups[frozenset(pair for pair in labels if pair[0] in by)].append(value)
    return {labels: float(AGGREGATES[str(node.op)](values)) for labels, values in groups.items()}


def _combined(node: promql.BinaryExpr, left: Vector | float, right: Vector | float) -> Vector | float:
    word = str(node.op)
    if isinstance(left, float) and isinstance(right, float):
        return ARITHMETIC[word](left, right)
    if isinstance(left, dict) and isinstance(right, dict) and word in ("and", "or", "unless"):
        keys = {_key(node, labels) for labels in right}
        if word == "or":
            mine = {_key(node, labels) for labels in left}
            return left | {labels: value for labels, value in right.items() if _key(node, labels) not in mine}
        return {labels: value for labels, value in left.items() if (_key(node, labels) in keys) is (word == "and")}
    return dict(_paired(node, left, right))


def _paired(node: promql.BinaryExpr, left: Vector | float, right: Vector | float) -> Iterator[tuple[Labels, float]]:
    word = str(node.op)
    for labels, a, b in _pairs(node, left, right):
        if word in COMPARISONS:
            if COMPARISONS[word](a, b):
                yield labels, a if isinstance(left, dict) else b
        else:
            yield _nameless(labels), ARITHMETIC[word](a, b)


def _pairs(
    node: promql.BinaryExpr, left: Vector | float, right: Vector | float
) -> Iterator[tuple[Labels, float, float]]:
    if isinstance(left, float):
        assert isinstance(right, dict)
        yield from ((labels, left, value) for labels, value in right.items())
    elif isinstance(right, float):
        yield from ((labels, value, right) for labels, value in left.items())
    else:
        others = {_key(node, labels): value for labels, value in right.items()}
        assert len(others) == len(right), f"several series of {node.rhs.prettify()} for one of the other side"
        for labels, value in left.items():
            if (key := _key(node, labels)) in others:
                yield labels, value, others[key]


def _key(node: promql.BinaryExpr, labels: Labels) -> Labels:
    """The labels by which series of both sides belong together."""
    matching = node.modifier.matching if node.modifier else None
    if matching is None:
        return _nameless(labels)
    assert str(matching.type) == "LabelModifierType.Include"
    return frozenset(pair for pair in labels if pair[0] in matching.labels)


def _nameless(labels: Labels) -> Labels:
    return frozenset(pair for pair in labels if pair[0] != NAME)
