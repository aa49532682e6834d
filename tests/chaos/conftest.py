"""A sandbox and people to verify, for tests that run the whole main job."""

from collections.abc import Callable, Iterator
from itertools import cycle, islice
from uuid import UUID

import pytest
from sqlalchemy import text

from worker.crypto import Keyring
from worker.database import Database
from worker.dev.demo.households import add_drivers
from worker.dev.demo.sample import INTEGRATION, configure_sandbox
from worker.dev.sandbox.personas import BY_LICENSE
from worker.dev.sandbox.server import SandboxServer
from worker.enqueue import enqueue_verification
from worker.settings import Settings

Ask = Callable[..., list[UUID]]


@pytest.fixture
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer() as running:
        yield running


@pytest.fixture
def ask(settings: Settings, db: Database, sandbox: SandboxServer) -> Ask:
    """Enqueue verifications of `count` people, cycling through `licenses`; gives the jobs' ids."""

    def ask(
        *licenses: str, count: int | None = None, timeout_s: int = 10, attempts: int = 3, tenant: str | None = None
    ) -> list[UUID]:
        people = list(islice(cycle(BY_LICENSE[number] for number in licenses), count or len(licenses)))
        with db.transaction() as connection:
            configure_sandbox(connection, Keyring.of(settings), sandbox.url, timeout_s=timeout_s, attempts=attempts)
            drivers = add_drivers(connection, Keyring.of(settings), people)
            return [
                enqueue_verification(connection, integration=INTEGRATION, driver_id=driver, tenant=tenant).job_id
                for driver in drivers
            ]

    return ask


@pytest.fixture
def states(db: Database) -> Callable[[], dict[str, int]]:
    """How many jobs are in which state."""

    def states() -> dict[str, int]:
        with db.transaction() as connection:
            return dict(connection.execute(text("SELECT state, count(*) FROM job GROUP BY state")).all())

    return states
