"""The provider is down for a while: the backlog waits for it, is asked about once in a while, and then drains."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import text

from tasks.verification.gate import RULES
from tests.chaos.conftest import Ask
from tests.chaos.workers import celery_worker
from tests.waiting import until
from worker.database import Database
from worker.dev.sandbox.server import SandboxServer
from worker.settings import Settings

pytestmark = [pytest.mark.kills, pytest.mark.timeout(180)]

VERA = "TX00000001"
JOBS = 60
IN_FLIGHT = 5
WORKERS = 2
REST_S = 1.0


def moments(sandbox: SandboxServer) -> list[float]:
    return [entry["time"] for entry in sandbox.journal() if entry["path"] == "/v2.7/household-drivers"]


def test_an_outage_is_met_by_probes_and_burns_no_attempts(
    settings: Settings,
    db: Database,
    sandbox: SandboxServer,
    ask: Ask,
    states: Callable[[], dict[str, int]],
    tmp_path: Path,
) -> None:
    sandbox.faults(rate_500=1.0, latency="20ms")
    ask(VERA, count=JOBS)
    few = {"WORKER_CALLS_IN_FLIGHT": str(IN_FLIGHT), "BREAKER_REST_S": str(REST_S)}
    probes = 4

    def burst() -> int:
        """Calls from before the breaker opened: those that came within its first rest."""
        made = moments(sandbox)
        return sum(moment < made[0] + REST_S for moment in made)

    with (
        celery_worker(settings, tmp_path / "a", app="tests.chaos.hasty_app", variables=few),
        celery_worker(settings, tmp_path / "b", app="tests.chaos.hasty_app", variables=few),
    ):
        until(lambda: len(moments(sandbox)) >= RULES.failures, 30)
        until(lambda: len(moments(sandbox)) >= burst() + probes, 60)
        during = moments(sandbox)
        assert "done" not in states()
        with db.transaction() as connection:
            spent = connection.execute(text("SELECT sum(attempt) FROM job")).scalar_one()
            retries = connection.execute(text("SELECT sum(retry_count) FROM integration_request")).scalar_one()
        sandbox.faults(latency="20ms")
        until(lambda: states() == {"done": JOBS}, 60)

    assert burst() <= RULES.failures - 1 + WORKERS * IN_FLIGHT
    assert (spent, retries) == (0, 0), "what failed before the breaker opened was given back"
    probed = during[burst() :]
    assert all(later - earlier >= 0.9 * REST_S for earlier, later in pairwise(probed)), "one probe after each rest"
    with db.transaction() as connection:
        assert connection.execute(text("SELECT sum(attempt), sum(crashes) FROM job")).one() == (0, 0)
        counts = text("SELECT count(*) FROM integration_verification_result WHERE verification_type = 'license'")
        assert connection.execute(counts).scalar_one() == JOBS
