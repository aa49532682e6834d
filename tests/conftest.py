"""Real servers for the tests: one PostgreSQL and one Valkey for a session, a database for a test.

Nothing here looks at the environment for servers, so no test can find one that happens to be installed.
"""

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from hypothesis import settings as hypothesis_settings

from worker.crypto import new_key
from worker.database import Database
from worker.dev.embedded import EmbeddedServers, placement
from worker.schema import alembic_config
from worker.settings import Settings

OUTSIDE = ("DATABASE_URL", "MIGRATION_DATABASE_URL", "REDIS_URL", "BROKER_URL", "ENCRYPTION_KEYS", "BLIND_INDEX_KEY")
TERMINAL = ("COLUMNS", "LINES")  # readline sets them in pytest-xdist's processes: commands under test print to files
for name in (*OUTSIDE, *(f"{name}_FILE" for name in OUTSIDE), *TERMINAL):
    os.environ.pop(name, None)

# A busy machine is no counterexample: no property here is about the time an example takes.
hypothesis_settings.register_profile("any machine", deadline=None)
hypothesis_settings.load_profile("any machine")

STARTS_PROCESSES = {"api", "chaos", "cli", "dev", "end_to_end", "migrations"}
SERVERS = {"servers", "sandbox"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`make check` leaves out what needs servers: whatever asks for these, and what starts processes of its own."""
    for item in items:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        if folder in STARTS_PROCESSES or SERVERS & set(getattr(item, "fixturenames", ())):
            item.add_marker("servers")


@dataclass(frozen=True)
class DatabaseUrls:
    """One database, as the role that owns its tables and as the application's role."""

    name: str
    owner_url: str
    app_url: str


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Remove what root's servers had to keep outside the tests' own directories (see worker/dev/embedded/placement.py).

    In a container that is some 60 MB for each home, and nothing but the link in that home knows of them.
    """
    yield
    remove_outside_of(tmp_path_factory.getbasetemp())


def remove_outside_of(homes: Path) -> None:
    if not placement.OUTSIDE.exists():
        return
    for directory, subdirectories, _ in os.walk(homes):
        link = Path(directory, placement.LINK)
        if link.name in subdirectories and link.is_symlink() and link.readlink().is_relative_to(placement.OUTSIDE):
            shutil.rmtree(link.readlink())


MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of our own is made in it
ENOUGH = 2 << 30
"""Free bytes there: a session holds a few hundred megabytes, of each of its processes."""


@pytest.fixture(scope="session")
def servers() -> Iterator[EmbeddedServers]:
    """PostgreSQL and Valkey of this session, in memory where there is room.

    Each test's database is 700 files. On a disk that is busy writing them back, copying takes half a second in place
    of 20 ms.
    """
    in_memory = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ENOUGH
    with tempfile.TemporaryDirectory(
        prefix="integration-worker-tests-", dir=MEMORY if in_memory else None, ignore_cleanup_errors=True
    ) as place:
        Path(place).chmod(0o755)  # root's servers are another user's
        with EmbeddedServers(Path(place) / "home", durable=False) as running:
            yield running
        remove_outside_of(Path(place))


@pytest.fixture
def fresh_database(servers: EmbeddedServers) -> Iterator[DatabaseUrls]:
    """An empty database, owned by the migrating role."""
    yield from database_from(servers, EMPTY)


@pytest.fixture
def database(servers: EmbeddedServers, template: str) -> Iterator[DatabaseUrls]:
    """A database of the test's own, migrated to the newest revision."""
    yield from database_from(servers, template)


@pytest.fixture(scope="session")
def template(servers: EmbeddedServers) -> Iterator[str]:
    """Name of a migrated database that is cloned for each test."""
    for urls in database_from(servers, EMPTY):
        migrate(urls)
        yield urls.name


@pytest.fixture
def redis_url(servers: EmbeddedServers) -> str:
    """The session's Valkey, emptied."""
    import redis

    with redis.Redis.from_url(servers.redis_url) as client:
        client.flushall()
    return servers.redis_url


@pytest.fixture
def settings(database: DatabaseUrls, redis_url: str) -> Settings:
    """Settings of a worker on the test's own database."""
    return settings_for(database, redis_url)


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    """The application's connections to the test's own database."""
    database = Database(settings)
    yield database
    database.close()


def settings_for(database: DatabaseUrls, redis_url: str, **overrides: object) -> Settings:
    values = {
        "DATABASE_URL": database.app_url,
        "MIGRATION_DATABASE_URL": database.owner_url,
        "REDIS_URL": redis_url,
        "ENCRYPTION_KEYS": f"k1:{new_key()}",
        "BLIND_INDEX_KEY": new_key(),
        "allow_private_providers": True,
        **overrides,
    }
    return Settings.model_validate(values)


def environment_of(settings: Settings, home: Path) -> dict[str, str]:
    """The environment of a process that shall use these settings."""
    return {
        **os.environ,
        "WORKER_HOME": str(home),
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "MIGRATION_DATABASE_URL": (settings.migration_database_url or settings.database_url).get_secret_value(),
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "ENCRYPTION_KEYS": settings.encryption_keys.get_secret_value(),
        "BLIND_INDEX_KEY": settings.blind_index_key.get_secret_value(),
        "WORKER_ALLOW_PRIVATE_PROVIDERS": str(settings.allow_private_providers).lower(),
    }


def migrate(urls: DatabaseUrls, revision: str = "head") -> None:
    """Bring a database to a revision, with the rights of the application's role."""
    config = alembic_config()
    engine = sa.create_engine(urls.owner_url.replace("postgresql://", "postgresql+psycopg://"), poolclass=sa.NullPool)
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        config.attributes["application_role"] = urls.app_url.split("://")[1].split(":")[0]
        command.upgrade(config, revision)
        connection.commit()


EMPTY = "template0"
_cloning = threading.Lock()


def database_from(servers: EmbeddedServers, template: str) -> Iterator[DatabaseUrls]:
    name = f"test_{uuid4().hex[:12]}"
    owner = servers.migration_database_url.split("://")[1].split(":")[0]
    app = servers.database_url.split("://")[1].split(":")[0]
    with _cloning, psycopg.connect(servers.admin_database_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} OWNER {owner} TEMPLATE {template} STRATEGY file_copy")
        admin.execute(f"GRANT CONNECT ON DATABASE {name} TO {app}")
    if template == EMPTY:  # a copy of one of ours has it already
        with psycopg.connect(_to(servers.admin_database_url, name), autocommit=True) as inside:
            inside.execute(f"ALTER SCHEMA public OWNER TO {owner}")
            inside.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
            inside.execute(f"GRANT USAGE ON SCHEMA public TO {app}")
    yield DatabaseUrls(name, _to(servers.migration_database_url, name), _to(servers.database_url, name))
    with psycopg.connect(servers.admin_database_url, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _to(url: str, database: str) -> str:
    return f"{url.rsplit('/', 1)[0]}/{database}"
