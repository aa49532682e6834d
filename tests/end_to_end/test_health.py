"""Real workers, beat and their small ports."""

import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from tasks.tokens.task import expire
from tests.chaos.conftest import Ask, ask, sandbox
from tests.chaos.workers import CHECKOUT, celery_worker
from tests.conftest import environment_of
from tests.waiting import until
from tests.worker.health.test_port import answers
from tests.worker.health.test_port import ask as get
from worker.database import Database
from worker.dev.system.ports import free_port
from worker.enqueue import enqueue
from worker.settings import Settings

__all__ = ["ask", "sandbox"]  # fixtures

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(300)]


def scrape(port: int) -> dict[str, dict[tuple[str, ...], float]]:
    """Samples by name and values of labels, in the order of their names."""
    status, said = get(port, "/metrics")
    assert status == 200
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(said):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def test_a_worker_of_threads_tells_what_it_did_and_where_the_time_went(
    settings: Settings, ask: Ask, tmp_path: Path
) -> None:
    port = free_port()
    ask("TX00000001", count=3)
    with celery_worker(settings, tmp_path, variables={"WORKER_HEALTH_PORT": str(port)}):
        until(lambda: answers(port) and get(port, "/readyz")[0] == 200, 120)
        until(lambda: sum(scrape(port).get("worker_jobs_ended_total", {}).values()) == 3, 60)
        assert get(port, "/healthz") == (200, '{"status":"alive"}')
        found = scrape(port)
    assert found["worker_jobs_ended_total"] == {("verification.verify", "done"): 3}
    assert found["worker_provider_calls_total"] == {("DCS_HOUSEHOLD_DRIVERS", "answered"): 3}
    counts = {phase: count for (_, phase), count in found["worker_job_phase_seconds_count"].items()}
    assert counts.pop("connect") > 0
    assert counts == dict.fromkeys(("queue", "load", "act", "token", "limit", "provider", "save"), 3)
    assert found["worker_jobs_room"] == {(): settings.calls_in_flight}
    assert found["worker_last_progress_timestamp_seconds"][()] > 1_700_000_000


def test_the_children_of_a_prefork_worker_are_both_counted(settings: Settings, db: Database, tmp_path: Path) -> None:
    port = free_port()

    def both_have_ended_one() -> bool:
        with db.transaction() as connection:
            enqueue(connection, expire)
        return {child for child, *_ in scrape(port).get("worker_jobs_ended_total", {})} == {"0", "1"}

    with celery_worker(
        settings,
        tmp_path,
        variables={"WORKER_HEALTH_PORT": str(port)},
        queue="maintenance",
        pool=("-P", "prefork", "-c2"),
    ):
        until(lambda: answers(port) and get(port, "/readyz")[0] == 200, 120)
        until(both_have_ended_one, 60)
        until(lambda: _runs_of_all_children(port) == _runs_in_ledger(db), 60)
        assert get(port, "/healthz")[0] == 200
    assert not answers(port)


def test_a_beat_tells_how_it_is(settings: Settings, tmp_path: Path) -> None:
    port = free_port()
    environment = {**environment_of(settings, tmp_path), "WORKER_HEALTH_PORT": str(port), "PYTHONPATH": str(CHECKOUT)}
    command = (sys.executable, "-m", "celery", "-A", "worker.app", "beat")
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as beat:
        try:
            until(lambda: answers(port) and scrape(port)["worker_last_progress_timestamp_seconds"][()] > 0, 120)
            assert get(port, "/healthz")[0] == get(port, "/readyz")[0] == 200
        finally:
            beat.terminate()
    assert not answers(port)


def _runs_of_all_children(port: int) -> float:
    return sum(scrape(port)["worker_jobs_ended_total"].values())


def _runs_in_ledger(db: Database) -> int:
    """How many runs of jobs have ended."""
    with db.transaction() as connection:
        return int(connection.execute(_ENDED).scalar_one())


_ENDED = text("SELECT sum(fence) - count(*) FILTER (WHERE state = 'running') FROM job")
