"""A served application on the test's own database, and an application upstream of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from tests.api.clients import Upstream, add_client, token_of
from tests.api.served import Api, served
from worker.api import clients
from worker.crypto import Keyring
from worker.database import Database
from worker.dev.demo.households import add_drivers
from worker.dev.demo.sample import configure_sandbox
from worker.dev.sandbox.personas import BY_LICENSE
from worker.settings import Settings


@pytest.fixture(autouse=True)
def hints_go_nowhere_else(monkeypatch: pytest.MonkeyPatch, redis_url: str, tmp_path: Path) -> None:
    """Hints find their broker by the environment."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("WORKER_HOME", str(tmp_path))


@pytest.fixture(autouse=True)
def hashing_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same hash in less time; that the real one is costly is looked at where an operator makes a client."""
    monkeypatch.setattr(clients, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    clients._nobodys_hash.cache_clear()


@pytest.fixture
def api(settings: Settings) -> Iterator[Api]:
    with served(settings) as running:
        yield running


@pytest.fixture
def driver(settings: Settings, db: Database) -> int:
    """Somebody whom the sandbox would know."""
    keyring = Keyring.of(settings)
    with db.transaction() as connection:
        configure_sandbox(connection, keyring, "http://127.0.0.1:9")
        (driver,) = add_drivers(connection, keyring, [BY_LICENSE["TX00000001"]])
    return driver


@pytest.fixture
def upstream(api: Api, db: Database) -> Upstream:
    """A client with every scope, for tenant T1."""
    return Upstream(api, token_of(api, add_client(db, "T1")))
