"""Alembic commands on a test's database, as the owning role, in this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from alembic.config import Config

import migrations


@contextmanager
def owner_connection(url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=sa.NullPool)
    with engine.connect() as connection:
        yield connection


def configured(connection: sa.Connection | None = None) -> Config:
    """The configuration a program builds: the folder of the installed package, and a connection of its own."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["connection"] = connection
    return config
