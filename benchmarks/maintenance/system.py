"""A system of its own for a measurement: durable servers in a directory, and the product's own processes on them."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import psycopg

from worker.dev.embedded import EmbeddedServers
from worker.dev.system import parts
from worker.dev.system.child import Program
from worker.dev.system.home import Home
from worker.dev.system.ports import free_port
from worker.dev.system.readiness import listeners
from worker.dev.system.supervisor import Supervisor
from worker.schema import migrate

PATIENCE_S = 900.0


@dataclass(frozen=True, slots=True)
class System:
    home: Home
    servers: EmbeddedServers

    def owner(self, database: str = "worker") -> psycopg.Connection:
        """As the role that owns the tables, each statement on its own."""
        return psycopg.connect(_named(self.servers.migration_database_url, database), autocommit=True)

    def application(self, database: str = "worker") -> psycopg.Connection:
        """As the workers."""
        return psycopg.connect(_named(self.servers.database_url, database))

    def administrator(self, database: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(_named(self.servers.admin_database_url, database), autocommit=True)

    @contextmanager
    def copy(self, name: str) -> Iterator[str]:
        """A database like `worker`, to which nobody may be connected meanwhile; dropped at the end."""
        role = self.servers.database_url.split("://")[1].split(":")[0]
        with self.administrator() as admin:
            admin.execute(f"CREATE DATABASE {name} TEMPLATE worker STRATEGY file_copy".encode())
            admin.execute(f"GRANT CONNECT ON DATABASE {name} TO {role}".encode())
            admin.execute("CHECKPOINT")
        try:
            yield name
        finally:
            with self.administrator() as admin:
                admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

    @contextmanager
    def processes(self, *programs: Program, database: str = "worker", workers: int = 0) -> Iterator[Supervisor]:
        """These programs on a database, once so many workers listen."""
        os.environ["DATABASE_URL"] = _named(self.servers.database_url, database)
        os.environ["MIGRATION_DATABASE_URL"] = _named(self.servers.migration_database_url, database)
        with Supervisor(self.home.logs, print) as supervisor:
            supervisor.start(*programs)
            wait_for(lambda: listeners(self.servers.redis_url) >= workers)
            yield supervisor


@contextmanager
def system(directory: Path | None = None) -> Iterator[System]:
    """Migrated and empty. `directory` (default: the machine's temporary one) decides which disk is measured."""
    home = Home(Path(tempfile.mkdtemp(prefix="worker-benchmark-", dir=directory)))
    home.path.chmod(0o711)
    home.create()
    try:
        with EmbeddedServers(home.servers) as servers:
            os.environ.pop("BROKER_URL", None)
            os.environ.update(
                home.keys(),
                WORKER_HOME=str(home.path),
                DATABASE_URL=servers.database_url,
                MIGRATION_DATABASE_URL=servers.migration_database_url,
                REDIS_URL=servers.redis_url,
                WORKER_ALLOW_PRIVATE_PROVIDERS="true",
            )
            migrate()
            yield System(home, servers)
    finally:
        shutil.rmtree(home.servers, ignore_errors=True)
        shutil.rmtree(home.path, ignore_errors=True)


def maintenance_worker() -> Program:
    return parts.maintenance_worker(free_port())


def ask(connection: psycopg.Connection, kind: str) -> UUID:
    """A job of maintenance, confirmed; a worker's dispatcher finds it."""
    (job,) = connection.execute(
        "INSERT INTO job (kind, queue, args) VALUES (%s, 'maintenance', '{\"confirm\": true}') RETURNING id", [kind]
    ).fetchone() or (None,)
    assert isinstance(job, UUID)  # noqa: S101 - RETURNING gives a row
    return job


def ended(connection: psycopg.Connection, job: UUID) -> bool:
    found = connection.execute("SELECT state FROM job WHERE id = %s", [job]).fetchone()
    return found is not None and found[0] in ("done", "failed")


def wait_for(is_true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not is_true():
        if time.monotonic() > end:
            raise TimeoutError("what was waited for did not come")
        time.sleep(0.05)


def _named(url: str, database: str) -> str:
    return f"{url.rsplit('/', 1)[0]}/{database}"
