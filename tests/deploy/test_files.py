"""Alarms and dashboards are well made: each says what it means, and asks for something that can be asked for."""

import re

import promql_parser
import pytest

from tests.deploy.files import DASHBOARDS, alarms, all_expressions, dashboard, expressions_of

BOARDS = [path.name for path in DASHBOARDS]


def test_the_three_dashboards_are_there() -> None:
    assert BOARDS == ["nightly.json", "overview.json", "provider.json"]


@pytest.mark.parametrize("name", alarms())
def test_an_alarm_says_what_it_means_and_whom_it_wakes(name: str) -> None:
    alarm = alarms()[name]
    assert re.fullmatch(r"Worker[A-Z][A-Za-z]+", name)
    assert alarm.severity in ("page", "ticket")
    assert len(alarm.summary.split()) >= 4
    assert alarm.runbook_url == f"docs/runbook.md#{name.lower()}"


@pytest.mark.parametrize("expression", all_expressions())
def test_an_expression_can_be_read(expression: str) -> None:
    promql_parser.parse(expression)


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_fits_on_its_grid(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard(name)["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24, panel["title"]
        assert not cells & taken, f"{panel['title']} lies on another"
        taken |= cells


@pytest.mark.parametrize("name", BOARDS)
def test_panels_are_named_once_and_ask_the_source_that_is_provided(name: str) -> None:
    panels = dashboard(name)["panels"]
    assert len(expressions_of(name)) == len(panels) == len({panel["id"] for panel in panels})
    assert {panel["datasource"]["uid"] for panel in panels} == {"prometheus"}
    assert all(panel["fieldConfig"]["defaults"]["unit"] for panel in panels)


def test_no_series_of_the_whole_system_is_summed_over_those_who_tell_of_it() -> None:
    """Each API process tells of the whole system: with two of them, a sum would be twice the truth."""
    whole = (
        "worker_(queue|jobs_failed|jobs_quarantined|processes|budget|clock|masking|retention|partitions"
        "|provider_(breaker_state|rate_per_second|calls_in_flight|remaining|paid_calls_today|cost_today))"
    )
    found = [one for one in all_expressions() if re.search(rf"sum[^(]*\((?:increase\(|rate\()?{whole}", one)]
    assert found == []
