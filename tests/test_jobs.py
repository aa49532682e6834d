"""Every job is declared, listed for the app, known to the clock by its right name, and in the README."""

import ast
import re
from importlib import import_module

import pytest

from beat_schedule import ENTRIES
from tests.sources import ROOT, module_name
from worker.broker import QUEUES
from worker.job import Kind, declared
from worker.settings import Settings

README = (ROOT / "README.md").read_text("utf-8")
DOORS = sorted(module_name(path) for path in (ROOT / "tasks").glob("*/task.py"))
for door in DOORS:
    import_module(door)
KINDS = {name: kind for name, kind in declared().items() if kind.act.__module__ in DOORS}


def section(title: str) -> str:
    """Text below a heading of the README, or below a paragraph's bold first word."""
    found = re.search(rf"^(?:## {title}|\*\*{title}\*\*)(.*?)(?=^## |^\*\*|\Z)", README, re.M | re.S)
    assert found, f"the README says nothing about {title}"
    return found[1]


def rows(title: str) -> list[list[str]]:
    lines = [line for line in section(title).splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_app_lists_every_door() -> None:
    app = ast.parse((ROOT / "worker" / "app.py").read_text("utf-8"))
    (listed,) = (
        ast.literal_eval(node.value)
        for node in app.body
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["TASK_MODULES"]
    )
    assert sorted(listed) == DOORS


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_kind_is_named_after_its_folder_and_has_a_limit(kind: Kind) -> None:
    assert re.fullmatch(rf"{kind.act.__module__.split('.')[1]}\.[a-z_]+", kind.name)
    assert 0 < kind.deadline_s <= 3600
    assert kind.queue in QUEUES


def test_clock_asks_only_for_jobs_that_exist() -> None:
    assert {entry.kind for entry in ENTRIES} <= KINDS.keys()


def test_readme_tells_of_every_job() -> None:
    assert {row[0].strip("`") for row in rows("The jobs")} == KINDS.keys()


def test_readme_tells_of_every_setting_with_its_default() -> None:
    told = {row[0].strip("`"): row[1] for row in rows("Settings")}
    del told["WORKER_HOME"]  # read before the settings, to find their file
    fields = {field.alias or f"WORKER_{name.upper()}": field for name, field in Settings.model_fields.items()}
    assert told.keys() == fields.keys()
    for name, field in fields.items():
        if field.is_required():
            assert told[name] == "required"
        elif field.default is not None:
            assert told[name].strip("`") == f"{field.default}", name
