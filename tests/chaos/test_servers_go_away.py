"""Redis and PostgreSQL vanish under load; the rows are still the jobs."""

from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from sqlalchemy import text

from tests.chaos.conftest import Ask
from tests.chaos.workers import celery_worker
from tests.waiting import until
from worker.database import Database
from worker.dev.embedded import EmbeddedServers
from worker.dev.sandbox.server import SandboxServer
from worker.settings import Settings

pytestmark = [pytest.mark.kills, pytest.mark.timeout(180)]

VERA = "TX00000001"
JOBS = 100
States = Callable[[], dict[str, int]]


def calls(sandbox: SandboxServer) -> int:
    return sum(entry["path"] == "/v2.7/household-drivers" for entry in sandbox.journal())


def test_redis_is_flushed_with_a_hundred_jobs_waiting(
    settings: Settings, sandbox: SandboxServer, ask: Ask, states: States, tmp_path: Path
) -> None:
    sandbox.faults(latency="100ms")
    ask(VERA, count=JOBS)
    with (
        redis.Redis.from_url(settings.redis_url.get_secret_value()) as client,
        celery_worker(settings, tmp_path / "a", variables={"WORKER_CALLS_IN_FLIGHT": "4"}),
    ):
        until(lambda: states().get("done", 0) >= 5, 30)
        client.flushall()
        left = states()
        until(lambda: states() == {"done": JOBS}, 60)
    assert left != {"done": JOBS}, "nothing was waiting when Redis was flushed"
    assert calls(sandbox) == JOBS


def test_redis_dies_with_calls_in_flight_and_the_worker_lives(
    settings: Settings, servers: EmbeddedServers, sandbox: SandboxServer, ask: Ask, states: States, tmp_path: Path
) -> None:
    sandbox.faults(latency="1s")
    ask(VERA, count=30)
    with celery_worker(settings, tmp_path / "a", variables={"WORKER_CALLS_IN_FLIGHT": "10"}) as worker:
        until(lambda: states().get("running", 0) >= 5, 30)
        servers.kill_redis()
        until(lambda: states().get("done", 0) >= 5, 30)
        ask(VERA, count=5)
        servers.start_redis()
        until(lambda: states() == {"done": 35}, 60)
        assert worker.poll() is None, "the worker ended because Redis went away"
    assert calls(sandbox) == 35


def test_postgresql_restarts_with_calls_in_flight_and_no_call_is_made_twice(
    settings: Settings,
    servers: EmbeddedServers,
    db: Database,
    sandbox: SandboxServer,
    ask: Ask,
    states: States,
    tmp_path: Path,
) -> None:
    sandbox.faults(latency="1s")
    ask(VERA, count=30)
    with celery_worker(settings, tmp_path / "a", variables={"WORKER_CALLS_IN_FLIGHT": "10"}) as worker:
        until(lambda: states().get("running", 0) >= 5, 30)
        servers.restart_postgres()
        db.close()  # the test's own connections are gone too
        until(lambda: states() == {"done": 30}, 60)
        assert worker.poll() is None
    with db.transaction() as connection:
        assert connection.execute(text("SELECT sum(attempt), sum(crashes) FROM job")).one() == (0, 0)
    assert calls(sandbox) == 30


def test_sigterm_under_load_burns_no_attempt_and_loses_nothing(
    settings: Settings, db: Database, sandbox: SandboxServer, ask: Ask, states: States, tmp_path: Path
) -> None:
    sandbox.faults(latency="500ms")
    ask(VERA, count=60)
    few = {"WORKER_CALLS_IN_FLIGHT": "10"}
    with celery_worker(settings, tmp_path / "a", variables=few) as worker:
        until(lambda: states().get("running", 0) >= 5, 30)
        worker.terminate()
        assert worker.wait(30) == 0
    between = states()
    assert "running" not in between, "a worker that stops hands nothing over half-done"
    assert between["ready"] > 0
    with celery_worker(settings, tmp_path / "b", variables=few):
        until(lambda: states() == {"done": 60}, 60)
    with db.transaction() as connection:
        assert connection.execute(text("SELECT sum(attempt), sum(crashes) FROM job")).one() == (0, 0)
    assert calls(sandbox) == 60
