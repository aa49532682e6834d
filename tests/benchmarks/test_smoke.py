"""The benchmarks still run: small rounds of this system alone. What they did is looked at, never how long it took."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import results
from benchmarks.contenders import CONTENDERS
from tests.sources import ROOT

JOBS = 20
OURS = [one.name for one in CONTENDERS if one.is_ours]

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a run, by the command that people type."""
    folder = tmp_path_factory.mktemp("results")
    command = [sys.executable, "-m", "benchmarks", "throughput", "enqueue", "--jobs", str(JOBS), "--out", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def records(folder: Path, section: str) -> list[dict[str, Any]]:
    document = results.read(folder, section)
    assert document is not None
    found: list[dict[str, Any]] = document["records"]
    return found


def test_every_job_of_a_round_is_done_once_and_its_rows_are_there(folder: Path) -> None:
    rounds = records(folder, "throughput")
    assert [one["contender"] for one in rounds] == OURS
    for one in rounds:
        assert one["check"] == {"asked": 2 * JOBS, "lost": 0, "doubled": 0}
        assert one["jobs"] == JOBS
        assert one["cpu"]["workers"] > 0


def test_every_way_of_asking_is_measured(folder: Path) -> None:
    asked = [one for one in records(folder, "enqueue") if one["of"] == "Asked"]
    assert len(asked) == 3
    assert all(one["many"] > 0 for one in asked)
    (answers,) = (one for one in records(folder, "enqueue") if one["of"] == "Answers")
    assert (answers["requests"], answers["refused"]) == (answers["per_second"] - 20, 0)
