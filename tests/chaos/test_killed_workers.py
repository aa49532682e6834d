"""Workers die at the worst moments; every job ends once, with one set of rows, and at most one call too many."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.chaos.conftest import Ask
from tests.chaos.workers import celery_worker
from tests.waiting import until
from worker.database import Database
from worker.dev.sandbox.server import SandboxServer
from worker.settings import Settings

pytestmark = [pytest.mark.kills, pytest.mark.timeout(180)]

VERA = "TX00000001"
HANK = "TX00000002"
MOMENTS = ("between_claim_and_call", "during_the_call", "after_the_answer_before_the_commit", "after_the_commit")
SHORT_LEASE = {"WORKER_LEASE_S": "4", "WORKER_RENEW_EVERY_S": "1"}


def results(db: Database) -> list[tuple[int, int, int]]:
    """For each request: result rows, and how many (type, target) pairs those are."""
    with db.transaction() as connection:
        rows = connection.execute(
            text(
                """
                SELECT request_id, count(*),
                       count(DISTINCT (verification_type, target_entity_type, target_entity_id, verified_data))
                FROM integration_verification_result GROUP BY request_id
                """
            )
        )
        return [tuple(row) for row in rows]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_worker_killed(
    moment: str,
    settings: Settings,
    db: Database,
    sandbox: SandboxServer,
    ask: Ask,
    states: Callable[[], dict[str, int]],
    tmp_path: Path,
) -> None:
    sandbox.faults(latency="1s")
    (job_id,) = ask(VERA)
    mark = tmp_path / "killed"
    # One of the moments is met with the lease that ships: the job must be done within a minute of the death.
    lease = {} if moment == "during_the_call" else SHORT_LEASE
    killed = {"KILL_AT": moment, "KILL_MARK": str(mark)}
    with celery_worker(settings, tmp_path / "first", app="tests.chaos.killed_app", variables=lease | killed) as first:
        until(mark.exists, 30)
        assert first.wait(10) == -9
    with celery_worker(settings, tmp_path / "second", variables=lease):
        until(lambda: states() == {"done": 1}, 60)
    with db.transaction() as connection:
        request = connection.execute(text("SELECT * FROM integration_request")).mappings().one()
        job = connection.execute(text("SELECT * FROM job WHERE id = :id"), {"id": job_id}).mappings().one()
    assert request["request_status"] == "completed"
    assert job["attempt"] == 0, "a death burns no attempt"
    assert job["crashes"] == (0 if moment == "after_the_commit" else 1)
    ((_, rows, distinct),) = results(db)
    assert rows == distinct
    calls = [entry for entry in sandbox.journal() if entry["path"] == "/v2.7/household-drivers"]
    expected = 1 if moment in ("between_claim_and_call", "after_the_commit") else 2
    assert len(calls) == expected
    assert len({call["idempotency_key"] for call in calls}) == 1, "the call whose fate is unknown is repeated as itself"


def test_a_killed_worker_among_two_loses_and_doubles_nothing(
    settings: Settings,
    db: Database,
    sandbox: SandboxServer,
    ask: Ask,
    states: Callable[[], dict[str, int]],
    tmp_path: Path,
) -> None:
    sandbox.faults(latency="200ms")
    ask(VERA, HANK, count=300)
    with (
        celery_worker(settings, tmp_path / "a", variables=SHORT_LEASE) as victim,
        celery_worker(settings, tmp_path / "b", variables=SHORT_LEASE),
    ):
        until(lambda: states().get("done", 0) > 20, 60)
        victim.kill()
        until(lambda: states() == {"done": 300}, 90)
    assert len(results(db)) == 300
    assert all(rows == distinct for _, rows, distinct in results(db))
    calls = [entry for entry in sandbox.journal() if entry["path"] == "/v2.7/household-drivers"]
    assert len({call["correlation_id"] for call in calls}) == 300
    assert len(calls) <= 300 + settings.calls_in_flight
