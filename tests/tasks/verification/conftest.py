"""A sandbox of the provider for the tests of verifications."""

from collections.abc import Iterator

import pytest

from tests.tasks.verification.system import System
from worker.crypto import Keyring
from worker.database import Database
from worker.dev.sandbox.server import SandboxServer
from worker.settings import Settings


@pytest.fixture(scope="session")
def _sandbox() -> Iterator[SandboxServer]:
    with SandboxServer() as server:
        yield server


@pytest.fixture
def sandbox(_sandbox: SandboxServer) -> SandboxServer:
    """The provider, with an empty journal."""
    _sandbox.reset()
    return _sandbox


@pytest.fixture
def system(db: Database, settings: Settings, redis_url: str, sandbox: SandboxServer) -> System:
    """All three APIs, configured to call the sandbox."""
    return System.set_up(db, Keyring.of(settings), redis_url, sandbox)
