"""A sandbox of the provider for the tests of verifications."""

from collections.abc import Iterator

import pytest

from worker.dev.sandbox.server import SandboxServer


@pytest.fixture(scope="session")
def _sandbox() -> Iterator[SandboxServer]:
    with SandboxServer() as server:
        yield server


@pytest.fixture
def sandbox(_sandbox: SandboxServer) -> SandboxServer:
    """The provider, with an empty journal."""
    _sandbox.reset()
    return _sandbox
