"""Hints on their way through a real worker: straight to the engine, or the long way where somebody watches."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from celery import Celery

from tests.chaos.conftest import Ask
from tests.chaos.workers import celery_worker
from tests.waiting import until
from worker.broker import celery_configuration
from worker.database import Database
from worker.dev.sandbox.server import SandboxServer
from worker.hints import Hints
from worker.settings import Settings

pytestmark = [pytest.mark.kills, pytest.mark.timeout(300)]

VERA = "TX00000001"
KIND = "verification.verify"
States = Callable[[], dict[str, int]]


@pytest.fixture
def celery(settings: Settings) -> Iterator[Celery]:
    """Whoever has the broker's password, an operator for one."""
    app = Celery(set_as_current=False)
    app.conf.update(celery_configuration(settings.celery_broker_url))
    yield app
    app.close()


def threads(celery: Celery) -> int:
    """How many of its pool's threads the worker has started."""
    (stats,) = (celery.control.inspect(timeout=10).stats() or {}).values()
    return int(stats["pool"]["threads"])


def test_a_hint_takes_no_thread_of_the_pool_unless_somebody_watches(
    settings: Settings, celery: Celery, ask: Ask, states: States, tmp_path: Path
) -> None:
    with celery_worker(settings, tmp_path):
        ask(VERA, count=3)
        until(lambda: states() == {"done": 3}, 120)
        assert threads(celery) == 0
        celery.control.enable_events(reply=True, timeout=10)
        ask(VERA)
        until(lambda: states() == {"done": 4}, 60)
        assert threads(celery) == 1


def test_letters_that_are_no_message_ended_the_worker(
    settings: Settings, ask: Ask, states: States, tmp_path: Path
) -> None:
    with (
        redis.Redis.from_url(settings.redis_url.get_secret_value()) as client,
        celery_worker(settings, tmp_path) as worker,
    ):
        client.lpush("verification", "no message")
        until(lambda: client.llen("verification") == 0, 60)
        ask(VERA)
        until(lambda: states() == {"done": 1}, 60)
        assert worker.poll() is None


def test_a_message_that_names_no_jobs_is_put_aside(
    settings: Settings, celery: Celery, ask: Ask, states: States, tmp_path: Path
) -> None:
    for args in ([["no id"]], [], [None], [["a"], ["b"]]):
        celery.send_task(KIND, args=args, queue="verification")
    with celery_worker(settings, tmp_path):
        ask(VERA)
        until(lambda: states() == {"done": 1}, 120)
    log = (tmp_path / "worker.log").read_text()
    assert log.count("a hint names jobs by their ids") >= 4


def test_what_a_worker_has_no_room_for_stays_in_the_broker(
    settings: Settings, db: Database, sandbox: SandboxServer, ask: Ask, states: States, tmp_path: Path
) -> None:
    sandbox.faults(latency="1s")
    ids = ask(VERA, count=60)
    with redis.Redis.from_url(settings.redis_url.get_secret_value()) as broker:
        broker.flushall()
        hints = Hints(settings.celery_broker_url)
        for job_id in ids:
            assert hints.send("verification", KIND, [job_id])
        hints.close()
        with celery_worker(settings, tmp_path, variables={"WORKER_CALLS_IN_FLIGHT": "2"}):
            until(lambda: states().get("done", 0) >= 2, 120)
            # Two that run, and of the rest as many as wait for their turn here.
            assert broker.llen("verification") >= 60 - 2 * states()["done"] - 8 - 2
            sandbox.faults(latency="0")
            until(lambda: states() == {"done": 60}, 90)
