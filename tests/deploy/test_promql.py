"""The evaluator of alarms: each expression gives here what Prometheus' documentation says it gives.

`promtool test rules` gives the same for these series and expressions, but for the names that some results keep, and for
`increase` and `rate`, which it extrapolates.
"""

import pytest

from tests.deploy.promql import Scrape, evaluate, names_in, scraped

NOW = """
depth{queue="a",kind="x",instance="1"} 3
depth{queue="a",kind="y",instance="1"} 5
depth{queue="b",kind="x",instance="1"} -7
depth{queue="a",kind="x",instance="2"} 4
limit{queue="a"} 4
limit{queue="c"} 1
done_total{kind="x"} 12
done_total{kind="y"} 2
done_total{kind="z"} 9
"""
BEFORE = """
done_total{kind="x"} 10
done_total{kind="y"} 8
"""


def given(expression: str) -> dict[str, float]:
    """Labels as they are written, without the name, in order."""
    found = evaluate(expression, Scrape(0, scraped(0, BEFORE).series), scraped(60, NOW))
    return {
        ",".join(f"{name}={value}" for name, value in sorted(labels) if name != "__name__"): value
        for labels, value in found.items()
    }


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ('limit{queue="c"}', {"queue=c": 1}),
        ('depth{queue!="a"}', {"instance=1,kind=x,queue=b": -7}),
        ('limit{queue=~"c|d"}', {"queue=c": 1}),
        ('limit{queue!~"c|d"}', {"queue=a": 4}),
        ('limit{queue=~".*c.*"}', {"queue=c": 1}),
        ('limit{other=""}', {"queue=a": 4, "queue=c": 1}),
        ("max by (queue) (depth)", {"queue=a": 5, "queue=b": -7}),
        ("min by (queue) (depth)", {"queue=a": 3, "queue=b": -7}),
        ("sum by (queue) (depth)", {"queue=a": 12, "queue=b": -7}),
        ("sum(depth)", {"": 5}),
        ("count(depth)", {"": 4}),
        ("max(nothing)", {}),
        ("max by (queue) (abs(depth)) > 5", {"queue=b": 7}),
        ("max by (queue) (depth) >= 5", {"queue=a": 5}),
        ("limit == 1", {"queue=c": 1}),
        ("5 < sum by (queue) (depth)", {"queue=a": 12}),
        ("limit * 2 + 1", {"queue=a": 9, "queue=c": 3}),
        ("max by (queue) (depth) > on (queue) limit", {"queue=a": 5}),
        ("max by (queue) (depth) / on (queue) limit", {"queue=a": 1.25}),
        ("max by (queue) (depth) > on (queue) 2 * limit", {}),
        ("limit and on (queue) depth", {"queue=a": 4}),
        ("limit unless on (queue) depth", {"queue=c": 1}),
        ("limit and on () nothing", {}),
        ("limit and on () sum(depth)", {"queue=a": 4, "queue=c": 1}),
        ('limit{queue="a"} or limit', {"queue=a": 4, "queue=c": 1}),
        ('absent(nothing{queue="a",kind=~"x"})', {"queue=a": 1}),
        ("absent(limit)", {}),
        ('absent(limit{queue="a"}) or absent(limit{queue="b"})', {"queue=b": 1}),
        ("increase(done_total[5m])", {"kind=x": 2, "kind=y": 2}),
        ("rate(done_total[2m]) > 0", {"kind=x": 2 / 120, "kind=y": 2 / 120}),
        ("increase(done_total[1m])", {}),
    ],
)
def test_expression_gives(expression: str, result: dict[str, float]) -> None:
    assert given(expression) == pytest.approx(result)


@pytest.mark.parametrize(
    "expression", ["avg(depth)", "depth offset 5m", "ceil(depth)", "sum without (a) (depth)", "-depth"]
)
def test_what_it_does_not_know_is_refused(expression: str) -> None:
    with pytest.raises((NotImplementedError, AssertionError, KeyError)):
        given(expression)


def test_names_are_found_wherever_they_stand() -> None:
    assert names_in("sum(rate(a_total[5m])) > on (x) 2 * b or absent(c)") == {"a_total", "b", "c"}
