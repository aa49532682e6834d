"""What the command says when it is asked for something that can't be done: one sentence, status 2, no traceback."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.here import run_here
from tests.cli.processes import clean_environment, run_worker
from tests.conftest import DatabaseUrls, environment_of, settings_for
from worker.dev.embedded import EmbeddedServers
from worker.settings import Settings


def complaint(answer: subprocess.CompletedProcess[str]) -> str:
    assert answer.returncode == 2, answer.stderr
    assert "Traceback" not in answer.stderr
    assert answer.stdout == ""
    return answer.stderr


@pytest.mark.parametrize("command", [["migrate"], ["seed"], ["api"]])
def test_missing_settings_are_all_named(command: list[str], tmp_path: Path) -> None:
    said = complaint(run_here(*command, cwd=tmp_path, environment=clean_environment()))
    for name in ("DATABASE_URL", "REDIS_URL", "ENCRYPTION_KEYS", "BLIND_INDEX_KEY", "worker up"):
        assert name in said


@pytest.mark.parametrize(
    ("given", "missing"), [("DATABASE_URL", "REDIS_URL"), ("REDIS_URL", "DATABASE_URL"), ("BROKER_URL", "DATABASE_URL")]
)
def test_up_wants_both_servers_or_none(given: str, missing: str, tmp_path: Path) -> None:
    environment = clean_environment(**{given: "postgresql://nobody@127.0.0.1:1/none"})
    said = complaint(run_worker("up", cwd=tmp_path, environment=environment))
    assert f"{given} is set and {missing} is not" in said
    assert not (tmp_path / ".worker").exists()


def test_up_with_servers_of_ones_own_wants_their_keys(tmp_path: Path) -> None:
    environment = clean_environment(DATABASE_URL="postgresql://u@127.0.0.1:1/d", REDIS_URL="redis://127.0.0.1:1/0")
    said = complaint(run_worker("up", cwd=tmp_path, environment=environment))
    assert "ENCRYPTION_KEYS and BLIND_INDEX_KEY must be set" in said


def test_up_names_the_option_for_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        answer = run_worker("up", "--flower-port", port, "--port", "0", cwd=tmp_path, environment=clean_environment())
    assert f"port {port} is taken: choose another with --flower-port" in complaint(answer)


def test_a_database_that_is_away_is_said_without_its_password(settings: Settings, tmp_path: Path) -> None:
    environment = environment_of(settings, tmp_path) | {
        "DATABASE_URL": "postgresql://app:geheim@127.0.0.1:1/worker",
        "MIGRATION_DATABASE_URL": "postgresql://owner:geheim@127.0.0.1:1/worker",
    }
    for command in (["migrate"], ["seed"], ["enqueue", "verification", "--integration", "X", "--driver", "1"]):
        said = complaint(run_here(*command, cwd=tmp_path, environment=environment))
        assert "the database does not answer" in said
        assert "geheim" not in said


def test_a_database_without_tables_is_sent_to_migrate(
    fresh_database: DatabaseUrls, servers: EmbeddedServers, tmp_path: Path
) -> None:
    environment = environment_of(settings_for(fresh_database, servers.redis_url), tmp_path)
    for command in (["seed"], ["enqueue", "verification", "--integration", "X", "--driver", "1"]):
        assert "run `worker migrate` first" in complaint(run_here(*command, cwd=tmp_path, environment=environment))


def test_what_cannot_be_enqueued_is_named(settings: Settings, tmp_path: Path) -> None:
    environment = environment_of(settings, tmp_path)
    ask = ("enqueue", "verification", "--integration")
    answer = run_here(*ask, "NO_SUCH_API", "--driver", "1", cwd=tmp_path, environment=environment)
    assert "NO_SUCH_API" in complaint(answer)
    answer = run_here(
        *ask, "DCS_HOUSEHOLD_DRIVERS", "--driver", "1", "--deadline", "soon", cwd=tmp_path, environment=environment
    )
    assert "'soon' is not a length of time" in complaint(answer)
    answer = run_here("seed", "--sandbox-url", "gopher://x", cwd=tmp_path, environment=environment)
    assert "'gopher://x' is not a URL" in complaint(answer)


def test_the_demo_refuses_a_home_that_holds_a_system(tmp_path: Path) -> None:
    (tmp_path / "servers").mkdir()
    answer = run_worker("demo", "--home", str(tmp_path), cwd=tmp_path, environment=clean_environment())
    assert "already holds a system" in complaint(answer)


def test_help_loads_neither_celery_nor_the_database_nor_the_development_servers() -> None:
    heavy = "('alembic', 'celery', 'fastapi', 'rich.progress', 'sqlalchemy', 'uvicorn', 'worker.dev')"
    code = f"import sys, worker.__main__; print([name for name in {heavy} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_help_names_every_command(tmp_path: Path) -> None:
    answer = run_worker("--help", cwd=tmp_path, environment=clean_environment())
    assert answer.returncode == 0
    for command in ("up", "demo", "migrate", "seed", "sandbox", "api", "enqueue", "jobs", "queues"):
        assert f" {command} " in answer.stdout
