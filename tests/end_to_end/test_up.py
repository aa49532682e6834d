"""`worker up` as a user runs it: it says where everything is, works for a second terminal, and ends without a trace."""

import base64
import http.client
import os
import re
import signal
import stat
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from beat_schedule import ENTRIES
from tests.cli.processes import clean_environment, processes_of, run_worker, start_worker
from tests.conftest import environment_of
from tests.waiting import until
from worker.dev.demo.sample import INTEGRATION
from worker.settings import Settings

pytestmark = [pytest.mark.end_to_end, pytest.mark.kills]


@dataclass(frozen=True)
class Up:
    """A running `worker up` and what it has said so far."""

    process: subprocess.Popen[str]
    home: Path
    said: str

    def url(self, name: str) -> str:
        match = re.search(rf"^{name} +(http://\S+)", self.said, re.MULTILINE)
        assert match is not None, self.said
        return match[1]

    @property
    def flower_login(self) -> str:
        match = re.search(r"user (\S+), password (\S+)\)", self.said)
        assert match is not None, self.said
        return f"{match[1]}:{match[2]}"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    home = tmp_path_factory.mktemp("up") / "home"
    ports = ("--port", "0", "--flower-port", "0")
    process = start_worker(
        "up", "--home", str(home), "--workers", "1", *ports, cwd=home.parent, environment=clean_environment()
    )
    with process:
        yield Up(process, home, _until(process, "Try in another terminal"))
        process.terminate()


def _until(process: subprocess.Popen[str], phrase: str) -> str:
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if phrase in line:
            return said
    pytest.fail(f"it ended with status {process.wait()}:\n{said}")


def enqueue(up: Up, last_name: str, *options: str) -> subprocess.CompletedProcess[str]:
    """What a second terminal does: ask for the verification of a sample driver, with nothing but the home to go by."""
    ask = ("enqueue", "verification", "--integration", INTEGRATION, "--driver", str(_driver_of(up, last_name)))
    return run_worker(*ask, *options, cwd=up.home.parent, environment=clean_environment(WORKER_HOME=str(up.home)))


def get(url: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        connection.request("GET", urlsplit(url).path or "/", headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_the_api_is_ready(up: Up) -> None:
    assert get(f"{up.url('API')}/readyz") == (200, b'{"status":"ready"}')


def test_flower_wants_its_password(up: Up) -> None:
    flower = up.url("Flower")
    assert get(f"{flower}/workers")[0] == 401
    login = base64.b64encode(up.flower_login.encode()).decode()
    assert get(f"{flower}/workers", {"Authorization": f"Basic {login}"})[0] == 200
    assert up.flower_login.split(":")[1] not in "".join(_command_lines(up.home))


def test_everything_listens_on_loopback_only(up: Up) -> None:
    for name in ("API", "Flower", "Sandbox"):
        assert urlsplit(up.url(name)).hostname == "127.0.0.1"


def test_a_second_terminal_finds_the_servers_and_sees_a_job_end(up: Up) -> None:
    answer = enqueue(up, "Valid", "--wait")
    assert answer.returncode == 0, answer.stderr
    job_id, sentence = answer.stdout.splitlines()
    assert re.fullmatch(r"[0-9a-f-]{36}", job_id)
    assert re.match(r"done: request \d+ completed", sentence)


def test_a_job_that_fails_says_why_and_gives_status_1(up: Up) -> None:
    answer = enqueue(up, "Teapot", "--wait")
    assert answer.returncode == 1
    assert re.search(r"job [0-9a-f-]{36} failed \(\w+\): \w", answer.stderr)
    assert "Traceback" not in answer.stderr


def test_the_same_key_gives_the_same_job(up: Up) -> None:
    first, second = (enqueue(up, "Valid", "--idempotency-key", "once") for _ in range(2))
    assert first.stdout == second.stdout
    assert "used before" in second.stderr


def test_the_clock_runs_in_a_worker(up: Up) -> None:
    names = {entry.name for entry in ENTRIES}

    def remembered() -> set[str]:
        with psycopg.connect(_database_url(up)) as connection:
            return {name for (name,) in connection.execute("SELECT name FROM schedule_entry")}

    until(lambda: remembered() >= names, 60)
    assert not any(" beat" in line for line in processes_of(up.home))


def test_a_worker_that_is_killed_comes_back(up: Up) -> None:
    (line,) = (line for line in processes_of(up.home) if "worker-1@" in line)
    os.kill(int(line.split()[0]), signal.SIGKILL)
    said = _until(up.process, "starting it again")
    assert "worker-1 was ended by signal 9" in said
    answer = enqueue(up, "Household", "--wait")
    assert answer.returncode == 0, answer.stderr


def test_what_holds_secrets_is_for_its_owner_only(up: Up) -> None:
    for path in (up.home / "env", up.home / "keys", *(up.home / "log").iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_logs_hold_nothing_of_the_people_asked_about(up: Up) -> None:
    enqueue(up, "Valid", "--wait").check_returncode()
    logs = "".join(path.read_text() for path in (up.home / "log").glob("*.log"))
    assert "runtime.started" in logs
    for personal in ("Valid", "TX0000", "1980-05-15", "Test Ln", "sandbox-secret"):
        assert personal not in logs


def test_sigterm_ends_everything(up: Up) -> None:
    up.process.terminate()
    assert up.process.stdout is not None
    said = up.process.stdout.read()
    assert up.process.wait() == 0
    assert said.splitlines()[-1] == "Stopped."
    assert processes_of(up.home) == []
    assert not (up.home / "env").exists()


def test_servers_of_ones_own_are_used_and_nothing_else_is_started(settings: Settings, tmp_path: Path) -> None:
    home = tmp_path / "home"
    process = start_worker(
        *("up", "--workers", "1", "--port", "0", "--flower-port", "0"),
        cwd=tmp_path,
        environment=environment_of(settings, home),
    )
    with process:
        up = Up(process, home, _until(process, "Everything runs"))
        assert get(f"{up.url('API')}/readyz") == (200, b'{"status":"ready"}')
        assert "Sandbox" not in up.said
        assert "PostgreSQL" not in up.said
        assert [path.name for path in home.iterdir()] == ["log"]
        process.terminate()
        said, _ = process.communicate()
    assert process.returncode == 0, said
    assert processes_of(home) == []


def _driver_of(up: Up, last_name: str) -> int:
    with psycopg.connect(_database_url(up)) as connection:
        row = connection.execute("SELECT id FROM driver WHERE last_name = %s", [last_name]).fetchone()
    assert row is not None
    return int(row[0])


def _database_url(up: Up) -> str:
    variables = dict(line.split("=", 1) for line in (up.home / "env").read_text().splitlines())
    return variables["DATABASE_URL"]


def _command_lines(place: Path) -> list[str]:
    lines = processes_of(place)
    assert lines
    return lines
