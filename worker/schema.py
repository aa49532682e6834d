"""Brings the database to the newest revision of the installed package, wherever the command is typed."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, NullPool, create_engine

import migrations
from worker.database import reaching
from worker.errors import Misconfigured
from worker.settings import load_settings


def alembic_config() -> Config:
    """Where the migrations of the installed package lie, whatever the working directory."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    return config


def scripts() -> ScriptDirectory:
    """The migrations of the installed package."""
    return ScriptDirectory.from_config(alembic_config())


def revisions_of(connection: Connection) -> frozenset[str]:
    """Those that a database is at; none where it was never migrated."""
    return frozenset(MigrationContext.configure(connection).get_current_heads())


def migrate() -> tuple[str | None, str | None]:
    """Upgrade as the role that owns the tables, as this process's settings say; tells the revisions before and after.

    Raises `Misconfigured` if the server is away, too old, or lacks the application's role.
    """
    settings = load_settings()
    config = alembic_config()
    engine = create_engine(settings.migration_url, poolclass=NullPool, hide_parameters=True)
    with reaching("migrate"), engine.connect() as connection:
        before = MigrationContext.configure(connection).get_current_revision()
        connection.rollback()
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise Misconfigured(str(error)) from None
        after = MigrationContext.configure(connection).get_current_revision()
    return before, after
