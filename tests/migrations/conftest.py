"""One migrated database for all tests of a module that only read, or that leave what others may see."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.conftest import DatabaseUrls, database_from
from tests.migrations.catalogue import Catalogue, read_catalogue
from worker.dev.embedded import EmbeddedServers


@pytest.fixture(scope="module")
def module_database(servers: EmbeddedServers, template: str) -> Iterator[DatabaseUrls]:
    yield from database_from(servers, template)


@pytest.fixture(scope="module")
def owner(module_database: DatabaseUrls) -> Iterator[psycopg.Connection]:
    """The owning role, each statement on its own."""
    with psycopg.connect(module_database.owner_url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def catalogue(owner: psycopg.Connection) -> Catalogue:
    return read_catalogue(owner)


@pytest.fixture
def application(module_database: DatabaseUrls) -> Iterator[psycopg.Connection]:
    """The application's role inside a transaction that is rolled back."""
    with psycopg.connect(module_database.app_url) as connection, connection.transaction(force_rollback=True):
        yield connection
