"""`worker demo` as a user runs it: from anywhere, to a table of outcomes, leaving nothing."""

import re
import signal
from pathlib import Path

import pytest

from tests.cli.processes import clean_environment, processes_of, run_worker, start_worker
from worker.dev.demo.mixture import finishing

pytestmark = [pytest.mark.end_to_end, pytest.mark.kills]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory that stands in every process of the demo: as its temporary directory."""
    place = tmp_path / "place"
    place.mkdir()
    return place


def test_every_job_ends_as_its_person_demands_and_nothing_is_left(place: Path, tmp_path: Path) -> None:
    environment = clean_environment(TMPDIR=str(place), COLUMNS="160", DATABASE_URL="postgresql://somebody@elsewhere/x")
    jobs = len(finishing()) + 5
    answer = run_worker("demo", "--jobs", str(jobs), cwd=tmp_path, environment=environment)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    for persona in finishing():
        assert re.search(rf"^{persona.scenario} +\d+ +yes ", answer.stdout, re.MULTILINE), answer.stdout
        assert persona.last_name not in answer.stdout
    assert re.search(rf"^ *\d+\.\d s +{jobs}/{jobs} +done ", answer.stdout, re.MULTILINE)
    assert f"{jobs} jobs in " in answer.stdout
    assert "all as expected" in answer.stdout
    assert processes_of(place) == []
    assert list(place.iterdir()) == []
    assert not (tmp_path / ".worker").exists()


@pytest.mark.parametrize("moment", ["Starting PostgreSQL", "Starting the provider's sandbox", "/60  done"])
def test_a_demo_that_is_interrupted_leaves_nothing(moment: str, place: Path) -> None:
    environment = clean_environment(TMPDIR=str(place), COLUMNS="160")
    with start_worker("demo", "--jobs", "60", "--workers", "1", cwd=place, environment=environment) as demo:
        assert demo.stdout is not None
        said = []
        for line in demo.stdout:
            said.append(line)
            if moment in line:
                break
        demo.send_signal(signal.SIGINT)
        said.append(demo.stdout.read())
    assert demo.returncode == 130, "".join(said)
    assert "Traceback" not in "".join(said)
    assert processes_of(place) == []
    assert list(place.iterdir()) == []


def test_a_home_of_ones_own_is_kept(place: Path) -> None:
    home = place / "home"
    environment = clean_environment(TMPDIR=str(place))
    answer = run_worker("demo", "--jobs", "3", "--home", str(home), cwd=place, environment=environment)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert {path.name for path in home.iterdir()} == {"keys", "log", "servers"}
    assert processes_of(place) == []
