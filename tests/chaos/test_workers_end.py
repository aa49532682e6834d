"""Workers are restarted one after the other, go deaf, or lose their connections unnoticed: the work goes on."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from tests.chaos.conftest import Ask
from tests.chaos.half_open import half_open_proxy
from tests.chaos.workers import CHECKOUT, celery_worker
from tests.conftest import environment_of
from tests.waiting import until
from tests.worker.health.test_port import answers
from tests.worker.health.test_port import ask as get
from worker.database import Database
from worker.dev.sandbox.server import SandboxServer
from worker.dev.system.ports import free_port
from worker.health.watchdog import EXIT_STATUS
from worker.settings import Settings

pytestmark = [pytest.mark.kills, pytest.mark.timeout(300)]

VERA = "TX00000001"
FEW = {"WORKER_CALLS_IN_FLIGHT": "10"}
States = Callable[[], dict[str, int]]


def calls(sandbox: SandboxServer) -> int:
    return sum(entry["path"] == "/v2.7/household-drivers" for entry in sandbox.journal())


def attempts_and_deaths(db: Database) -> tuple[int, int]:
    with db.transaction() as connection:
        attempts, crashes = connection.execute(text("SELECT sum(attempt), sum(crashes) FROM job")).one()
        return int(attempts), int(crashes)


def seen_at(db: Database) -> datetime:
    """When the only worker was last heard of."""
    with db.transaction() as connection:
        moment: datetime = connection.execute(text("SELECT max(seen_at) FROM worker_process")).scalar_one()
        return moment


def test_a_rolling_restart_under_load_loses_doubles_and_spends_nothing(
    settings: Settings, db: Database, sandbox: SandboxServer, ask: Ask, states: States, tmp_path: Path
) -> None:
    sandbox.faults(latency="500ms")
    ask(VERA, count=150)
    with (
        celery_worker(settings, tmp_path / "old a", variables=FEW) as old_a,
        celery_worker(settings, tmp_path / "old b", variables=FEW) as old_b,
    ):
        until(lambda: states().get("done", 0) >= 15, 120)
        old_a.send_signal(signal.SIGTERM)
        with celery_worker(settings, tmp_path / "new a", variables=FEW):
            assert old_a.wait(60) == 0
            assert states().get("ready", 0) > 0, "everything was done before the restart"
            old_b.send_signal(signal.SIGTERM)
            with celery_worker(settings, tmp_path / "new b", variables=FEW):
                assert old_b.wait(60) == 0
                until(lambda: states() == {"done": 150}, 90)
    assert attempts_and_deaths(db) == (0, 0)
    assert calls(sandbox) == 150


def test_connections_to_redis_that_die_unnoticed_under_load_cost_a_minute_and_no_job(
    settings: Settings, db: Database, sandbox: SandboxServer, ask: Ask, states: States, tmp_path: Path
) -> None:
    sandbox.faults(latency="200ms")
    rounds: set[datetime] = set()

    def all_are_done() -> bool:
        rounds.add(seen_at(db))
        return states() == {"done": 80}

    ask(VERA, count=60)
    with half_open_proxy(settings.redis_url.get_secret_value()) as proxy:
        through = settings.model_copy(update={"redis_url": SecretStr(proxy.url)})
        variables = {"WORKER_CALLS_IN_FLIGHT": "4", "WORKER_RENEW_EVERY_S": "1"}
        with celery_worker(through, tmp_path / "a", variables=variables) as worker:
            until(lambda: states().get("done", 0) >= 5, 120)
            assert proxy.swallow() >= 3
            assert states()["done"] < 60
            ask(VERA, count=20)
            until(all_are_done, 240)
            assert worker.poll() is None
    assert len(rounds) <= 60, "a minute, told by the rounds of a second that the worker itself has made meanwhile"
    assert attempts_and_deaths(db) == (0, 0)
    assert calls(sandbox) == 80


def test_a_deaf_worker_says_so_and_ends_itself(
    settings: Settings, sandbox: SandboxServer, ask: Ask, states: States, tmp_path: Path
) -> None:
    """An operator's `cancel_consumer` lasts until the worker is restarted: nobody would notice."""
    port = free_port()
    variables = {"WORKER_HEALTH_PORT": str(port), "WORKER_STUCK_AFTER_S": "6"}
    with celery_worker(settings, tmp_path / "a", variables=variables) as worker:
        until(lambda: answers(port), 120)
        command = (sys.executable, "-m", "celery", "-A", "worker.app", "control", "cancel_consumer", "verification")
        subprocess.run(command, cwd=CHECKOUT, env=environment_of(settings, tmp_path), check=True, capture_output=True)
        ask(VERA)
        until(lambda: not answers(port) or get(port, "/healthz")[0] == 503, 60)
        assert worker.wait(60) == EXIT_STATUS
    assert "no hint has arrived" in (tmp_path / "a" / "worker.log").read_text()
    assert states() == {"ready": 1}
    with celery_worker(settings, tmp_path / "b"):
        until(lambda: states() == {"done": 1}, 120)


def test_children_whose_parent_was_killed_do_not_stay_behind(settings: Settings, db: Database, tmp_path: Path) -> None:
    def children() -> list[int]:
        with db.transaction() as connection:
            return list(connection.execute(text("SELECT pid FROM worker_process")).scalars())

    with celery_worker(settings, tmp_path, queue="maintenance", pool=("-P", "prefork", "-c", "2")) as worker:
        until(lambda: len(children()) == 2, 120)
        worker.kill()
        worker.wait()
        until(lambda: not any(map(is_there, children())), 30)


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "(celery)" not in Path(f"/proc/{pid}/stat").read_text() or " Z " not in Path(f"/proc/{pid}/stat").read_text()
