"""Asking the ledger for test jobs, and looking at what became of them."""

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from tests.worker.kinds import TEST_KIND
from worker.bulk import enqueue_many
from worker.database import Database
from worker.enqueue import enqueue


def ask(db: Database, count: int = 1, *, tenant: str = "system", priority: int = 4, **args: object) -> list[UUID]:
    """Enqueue `count` test jobs that do what `args` say."""
    with db.transaction() as connection:
        return [enqueue(connection, TEST_KIND, args, tenant=tenant, priority=priority).job_id for _ in range(count)]


def job(db: Database, job_id: UUID) -> dict[str, Any]:
    with db.transaction() as connection:
        return dict(connection.execute(text("SELECT * FROM job WHERE id = :id"), {"id": job_id}).mappings().one())


def change(db: Database, sql: str, **values: object) -> None:
    """Put jobs into a state that would take time to come about."""
    with db.transaction() as connection:
        connection.execute(text(f"UPDATE job SET {sql}"), values)  # noqa: S608 - SQL of the tests' own


def events(db: Database, job_id: UUID) -> list[str]:
    with db.transaction() as connection:
        return list(
            connection.execute(
                text("SELECT event FROM job_event WHERE job_id = :id ORDER BY id"), {"id": job_id}
            ).scalars()
        )


def ask_many(connection: Connection, count: int) -> list[UUID]:
    """The ids of so many jobs of the test kind, asked for at once."""
    return [asked.job_id for asked in enqueue_many(connection, TEST_KIND, [{}] * count)]
