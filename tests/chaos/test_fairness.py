"""A tenant floods an account that has limits; another one asks for a single verification and is called for soon.

Told in calls, not in seconds: how many of the flood's reach the provider between the other's commit and its own.
"""

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
FLOOD = 800
FIRST_CALLS = 3
"""By then the flood has come to the account, and most of it has still to be told when to come again."""


def callers(sandbox: SandboxServer) -> list[str]:
    """The correlation ids of calls, in their order."""
    return [entry["correlation_id"] for entry in sandbox.journal() if entry["path"] == "/v2.7/household-drivers"]


@pytest.mark.parametrize(
    ("limits", "at_most"),
    [
        ("max_requests_per_second = 5", 10),  # those who have a turn at the moment, and two seconds for a busy machine
        ("max_calls_in_flight = 2", 20),  # of a hundred milliseconds each: one second
    ],
)
def test_a_flood_at_an_account_with_limits_delays_anothers_first_call_by_a_few(
    settings: Settings,
    db: Database,
    sandbox: SandboxServer,
    ask: Ask,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limits: str,
    at_most: int,
) -> None:
    """The flood used to have all turns of the next two seconds, always: the other came when it was over."""
    monkeypatch.setenv("REDIS_URL", settings.redis_url.get_secret_value())
    sandbox.faults(latency="100ms")
    ask(VERA, count=FLOOD, tenant="many")
    with db.transaction() as connection:
        connection.execute(text(f"UPDATE integration_configuration SET {limits}"))  # noqa: S608 - of this file
    with celery_worker(settings, tmp_path / "a"), celery_worker(settings, tmp_path / "b"):
        until(lambda: len(callers(sandbox)) >= FIRST_CALLS, 60)
        (job,) = ask(VERA, tenant="few")
        before = len(callers(sandbox))
        with db.transaction() as connection:
            asked_by = connection.execute(
                text("SELECT correlation_id FROM integration_request WHERE job_id = :job"), {"job": job}
            ).scalar_one()
        until(lambda: asked_by in callers(sandbox), 60)
        assert callers(sandbox).index(asked_by) - before <= at_most
