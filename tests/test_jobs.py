"""Every job is declared, listed for the app, known to the clock by its right name, and in the README."""

import re
from collections.abc import Sequence
from importlib import import_module

import pytest
from celery.schedules import crontab

from beat_schedule import ENTRIES, Entry
from tests.sources import ROOT, module_name
from worker.broker import QUEUES
from worker.clock.entries import checked
from worker.job import Kind, declared
from worker.settings import Settings
from worker.task_modules import TASK_MODULES

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


def test_every_door_is_listed() -> None:
    assert sorted(TASK_MODULES) == DOORS


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_kind_is_named_after_its_folder_and_has_a_limit(kind: Kind) -> None:
    assert re.fullmatch(rf"{kind.act.__module__.split('.')[1]}\.[a-z_]+", kind.name)
    assert 0 < kind.deadline_s <= 3600
    assert kind.queue in QUEUES


def test_clock_can_run() -> None:
    assert [line.name for line in checked(ENTRIES, KINDS)] == [entry.name for entry in ENTRIES]


NIGHT = ("tokens.expire", "masking.sweep", "retention.sweep", "partitions.ensure")
"""Nothing is removed that was to be masked first, and nothing moved that was to be removed."""


def out_of_order(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """Pairs of nightly entries of which the first does not wait for the second."""
    after = {entry.name: entry.after for entry in entries if entry.name in NIGHT}
    names = sorted(after, key=NIGHT.index)
    return [(name, above) for number, name in enumerate(names) for above in names[:number] if above not in after[name]]


def test_the_night_keeps_its_order() -> None:
    assert out_of_order(ENTRIES) == []


def test_hours_apart_are_no_order() -> None:
    entries = [Entry(name, crontab("0", hour), missed="once") for hour, name in zip("1234", NIGHT, strict=True)]
    assert len(out_of_order(entries)) == 6


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
