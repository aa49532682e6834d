"""A database with a plan filed, and an engine to rate by it."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.conftest import DatabaseUrls
from tests.tasks.rating.saved import file_plan, forget_jobs
from worker.crypto import Keyring
from worker.database import Database
from worker.job import Surroundings
from worker.process.engine import Engine
from worker.settings import Settings


@pytest.fixture
def engine(settings: Settings, db: Database) -> Iterator[Engine]:
    engine = Engine(db, Surroundings(settings, Keyring.of(settings)), on_room=lambda: None)
    yield engine
    engine.close()


@pytest.fixture
def sql(database: DatabaseUrls) -> Iterator[psycopg.Connection]:
    """The application's role, each statement on its own."""
    with psycopg.connect(database.app_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def filed(sql: psycopg.Connection) -> psycopg.Connection:
    """The same, with a plan for Texas filed and nobody asked to recalculate."""
    file_plan(sql)
    forget_jobs(sql)
    return sql


@pytest.fixture
def writes(database: DatabaseUrls) -> Iterator[psycopg.Connection]:
    """Every premium that is written, by quote and plan version: a doubled one would be seen."""
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        owner.execute("CREATE TABLE premium_written (quote_id uuid, plan_version text)")
        owner.execute("GRANT INSERT ON premium_written TO PUBLIC")
        owner.execute(
            "CREATE FUNCTION note_premium() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " INSERT INTO premium_written VALUES (NEW.id, NEW.plan_version); RETURN NULL; END $$"
        )
        owner.execute(
            "CREATE TRIGGER note_premium AFTER UPDATE OF premium ON quotes FOR EACH ROW EXECUTE FUNCTION note_premium()"
        )
        yield owner
