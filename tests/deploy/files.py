"""What is in deploy/: alarms by their names, and the expressions of the dashboards."""

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from tests.sources import ROOT

DASHBOARDS = sorted((ROOT / "deploy" / "grafana").glob("*.json"))


@dataclass(frozen=True)
class Alarm:
    name: str
    expression: str
    severity: str
    summary: str
    runbook_url: str


@cache
def alarms() -> dict[str, Alarm]:
    file = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text("utf-8"))
    found = [
        Alarm(rule["alert"], rule["expr"], rule["labels"]["severity"], **rule["annotations"])
        for group in file["groups"]
        for rule in group["rules"]
    ]
    assert len({alarm.name for alarm in found}) == len(found)
    return {alarm.name: alarm for alarm in found}


def dashboard(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / name).read_text("utf-8"))
    return found


def expressions_of(name: str) -> dict[str, list[str]]:
    """Those of each panel, by its title."""
    return {panel["title"]: [target["expr"] for target in panel["targets"]] for panel in dashboard(name)["panels"]}


def all_expressions() -> list[str]:
    panels = [expressions for path in DASHBOARDS for expressions in expressions_of(path.name).values()]
    return [alarm.expression for alarm in alarms().values()] + [one for panel in panels for one in panel]
