"""Running a maintenance job in a test: asked for, claimed and run by an engine, as a worker would."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg

from tests.conftest import DatabaseUrls
from tests.worker.asking import job
from worker.crypto import Keyring
from worker.database import Database
from worker.enqueue import enqueue
from worker.job import Kind, Surroundings
from worker.process.engine import Engine
from worker.settings import Settings


@dataclass(frozen=True)
class Maintained:
    """A database with a kind of maintenance. `owner` is the role that owns the tables, each statement on its own."""

    db: Database
    urls: DatabaseUrls
    owner: psycopg.Connection
    engine: Engine
    kind: Kind

    def ask(self, **args: object) -> UUID:
        with self.db.transaction() as connection:
            return enqueue(connection, self.kind, args).job_id

    def connect(self) -> psycopg.Connection:
        """Another connection of the application's role, each statement on its own."""
        return psycopg.connect(self.urls.app_url, autocommit=True)

    def run(self, job_id: UUID | None = None, **args: object) -> dict[str, Any]:
        """Run one job, a new one by default, to the end of its run; gives its row."""
        job_id = job_id or self.ask(**args)
        self.engine.begin(self.kind, [job_id])
        self.engine.drain()
        ended = job(self.db, job_id)
        assert ended["error_code"] != "bug", ended["error_message"]
        return ended


@contextmanager
def maintained(settings: Settings, db: Database, database: DatabaseUrls, kind: Kind) -> Iterator[Maintained]:
    engine = Engine(db, Surroundings(settings, Keyring.of(settings)), on_room=lambda: None)
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        try:
            yield Maintained(db, database, owner, engine, kind)
        finally:
            engine.close()
