"""Processes that look alive and do nothing any more say so, and end, so that a supervisor starts others."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.chaos.workers import CHECKOUT, celery_worker
from tests.conftest import environment_of
from tests.waiting import until
from tests.worker.health.test_port import answers
from tests.worker.health.test_port import ask as get
from worker.database import Database
from worker.dev.system.ports import free_port
from worker.health.watchdog import EXIT_STATUS
from worker.settings import Settings

pytestmark = [pytest.mark.kills, pytest.mark.timeout(180)]

APP = "tests.chaos.hung_app"


def is_well(port: int) -> bool:
    return answers(port) and get(port, "/healthz")[0] == 200


def says_that_it_is_stuck(port: int) -> bool:
    """Or has ended since."""
    return not answers(port) or get(port, "/healthz")[0] == 503


@pytest.mark.parametrize("part", ["dispatcher", "leases"])
def test_a_worker_with_a_hung_thread_says_so_and_ends_itself(settings: Settings, tmp_path: Path, part: str) -> None:
    """Jobs would begin here and lose their leases, or wait for retries that nobody looks for."""
    port, hangs = free_port(), tmp_path / "hangs"
    variables = {
        "WORKER_HEALTH_PORT": str(port), "WORKER_RENEW_EVERY_S": "1", "HANGS": part, "HANGS_FROM": str(hangs)
    }  # fmt: skip
    with celery_worker(settings, tmp_path / "a", app=APP, variables=variables) as worker:
        until(lambda: is_well(port), 120)
        hangs.touch()
        until(lambda: says_that_it_is_stuck(port), 60)
        assert worker.wait(60) == EXIT_STATUS
    log = (tmp_path / "a" / "worker.log").read_text()
    assert "process.stuck" in log
    assert f"where={part}" in log
    assert "it has made no round" in log


def test_a_rating_worker_one_of_whose_children_hangs_ends_itself(
    settings: Settings, db: Database, tmp_path: Path
) -> None:
    """Half of its places would be taken by jobs that never begin; the parent runs none and is well."""
    port = free_port()
    variables = {"WORKER_HEALTH_PORT": str(port), "WORKER_RENEW_EVERY_S": "1"}
    pool = ("-P", "prefork", "-c", "2")

    def children() -> list[int]:
        with db.transaction() as connection:
            return list(connection.execute(text("SELECT pid FROM worker_process")).scalars())

    with celery_worker(settings, tmp_path / "a", app=APP, variables=variables, queue="rating", pool=pool) as worker:
        until(lambda: len(children()) == 2, 120)
        until(lambda: is_well(port), 60)
        hung = children()[0]
        os.kill(hung, signal.SIGSTOP)
        try:
            until(lambda: says_that_it_is_stuck(port), 60)
            assert worker.wait(60) == EXIT_STATUS
        finally:
            os.kill(hung, signal.SIGCONT)
    log = (tmp_path / "a" / "worker.log").read_text()
    assert "process.stuck" in log
    assert "it has not answered" in log


def test_a_beat_that_no_longer_looks_at_the_clock_ends_itself(settings: Settings, db: Database, tmp_path: Path) -> None:
    port, hangs, log = free_port(), tmp_path / "hangs", tmp_path / "beat.log"
    variables = {"WORKER_HEALTH_PORT": str(port), "HANGS": "clock", "HANGS_FROM": str(hangs)}
    command = (sys.executable, "-m", "celery", "-A", APP, "beat", "--max-interval", "1")
    with log.open("ab") as out:
        beat = subprocess.Popen(
            command, cwd=CHECKOUT, env={**environment_of(settings, tmp_path), **variables}, stdout=out, stderr=out
        )
    try:
        until(lambda: is_well(port), 120)
        hangs.touch()
        until(lambda: says_that_it_is_stuck(port), 60)
        assert beat.wait(60) == EXIT_STATUS
    finally:
        beat.kill()
        beat.wait()
    assert "process.stuck" in log.read_text()
    assert "nobody has looked at it" in log.read_text()
