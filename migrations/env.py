"""How a migration runs: on a live PostgreSQL 15 or newer, one runner at a time, impatient with locks.

The connection comes from the caller (`config.attributes["connection"]`, with `"application_role"` beside it if there is
one) or from the settings. The working directory plays no part.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import context
from alembic.util import CommandError

from migrations.grants import grant_application_role
from models import Base
from models.facts import partitioning_of
from worker.settings import load_settings

MINIMUM_VERSION = 15  # UNIQUE NULLS NOT DISTINCT
RUNNER_LOCK = 0x5C4E_3A01  # any number that nothing else uses as an advisory lock

PARTITION_PREFIXES = tuple(f"{t.name}_" for t in Base.metadata.tables.values() if partitioning_of(t))


def is_described_by_models(name: str | None, type_: str, _parents: Any) -> bool:
    """Partitions are made by a function, month by month; the models know their parent only."""
    return not (type_ == "table" and name is not None and name.startswith(PARTITION_PREFIXES))


def refuse_old_server(connection: sa.Connection) -> None:
    version = connection.dialect.server_version_info
    if version is not None and version < (MINIMUM_VERSION,):
        raise CommandError(
            f"PostgreSQL {MINIMUM_VERSION} or newer is needed; this server runs {'.'.join(map(str, version))}."
        )


@contextmanager
def only_runner(connection: sa.Connection) -> Iterator[None]:
    """Hold the runner's lock for the session: a second runner waits here and then finds nothing to do."""
    connection.execute(sa.select(sa.func.pg_advisory_lock(RUNNER_LOCK)))
    connection.commit()
    try:
        yield
    finally:
        connection.rollback()
        connection.execute(sa.select(sa.func.pg_advisory_unlock(RUNNER_LOCK)))
        connection.commit()


def migrate(connection: sa.Connection, application_role: str | None) -> None:
    refuse_old_server(connection)
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_name=is_described_by_models,
        compare_server_default=True,
    )
    with context.begin_transaction():
        connection.execute(sa.text("SET LOCAL TIME ZONE 'UTC'"))
        connection.execute(sa.text("SET LOCAL lock_timeout = '4s'"))
        connection.execute(sa.text("SET LOCAL statement_timeout = '60s'"))
        context.run_migrations()
        # Only commands that move to a revision may change rights: `current` and `check` just look.
        if application_role and "destination_rev" in context.get_context().opts:
            grant_application_role(connection, application_role)


def run() -> None:
    if context.is_offline_mode():
        raise CommandError("Migrations run against a live database only: they check its version and load rows.")
    attributes = context.config.attributes
    if (connection := attributes.get("connection")) is not None:
        migrate(connection, attributes.get("application_role"))
        return
    settings = load_settings()
    engine = sa.create_engine(settings.migration_url, poolclass=sa.NullPool)
    with engine.connect() as connection, only_runner(connection):
        migrate(connection, settings.application_role)


run()
