"""The door of the reconciliation job."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from tasks.reconciliation import store
from worker.database import Database
from worker.job import Surroundings, job
from worker.operating.reconciliation import Account, reconcile
from worker.outcomes import Done, GiveUp, Outcome

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_database(surroundings: Surroundings) -> AsyncIterator[Database]:
    """Connections of its own: the account is read for longer than the transaction of a claim may take."""
    database = Database(surroundings.settings)
    try:
        yield database
    finally:
        database.close()


@job(
    "reconciliation.account",
    queue="maintenance",
    deadline_s=1800,
    max_attempts=2,
    load=store.load,
    save=store.save,
    opens=open_database,
)
async def account(_: None, database: Database) -> Outcome[None]:
    """Account for everything; fails with the codes of what does not add up. `worker reconcile` shows which rows."""
    found = await asyncio.to_thread(_read, database)
    for finding in found.findings:
        _log.error("reconciliation.does_not_add_up", code=finding.code, rows=finding.count, examples=finding.examples)
    if found.findings:
        return GiveUp("does_not_add_up", ", ".join(f"{f.count} {f.code}" for f in found.findings))
    return Done(None)


def _read(database: Database) -> Account:
    with database.transaction() as connection:
        return reconcile(connection)
