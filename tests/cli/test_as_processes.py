"""Each family of commands in a process of its own, where nobody has imported anything for it.

What the commands do is looked at in the tests' own process (`here.py`).
"""

from pathlib import Path
from uuid import uuid4

import pytest

from tests.cli.operator import refused, said
from tests.cli.processes import run_worker
from tests.conftest import environment_of
from worker.settings import Settings

LOOKS = (
    "batches list", "budgets list", "calls", "clients list", "household offers --driver 1", "integrations list",
    "jobs list", "keys status", "mappings list --integration DCS_CRIMINAL", "queues status", "reconcile", "schedule",
    "status",
)  # fmt: skip
"""The command of each family that only looks."""


@pytest.mark.parametrize("command", LOOKS)
def test_a_command_brings_along_all_that_it_needs(command: str, settings: Settings, tmp_path: Path) -> None:
    assert said(run_worker(*command.split(), cwd=tmp_path, environment=environment_of(settings, tmp_path)))


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("enqueue verification --integration NO_SUCH_API --driver 1", "NO_SUCH_API"),
        (f"quotes explain {uuid4()}", "no quote"),
        (f"rates activate users {uuid4()}", "no table of rates users"),
    ],
    ids=["enqueue", "quotes", "rates"],
)
def test_a_refusal_brings_along_all_that_it_needs(
    command: str, sentence: str, settings: Settings, tmp_path: Path
) -> None:
    answer = run_worker(*command.split(), cwd=tmp_path, environment=environment_of(settings, tmp_path))
    assert sentence in refused(answer)
