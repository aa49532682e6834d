"""An engine for tests of the machine, and a table that shows what its jobs did."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.conftest import DatabaseUrls
from tests.worker.kinds import LEFT_BEHIND
from worker.crypto import Keyring
from worker.database import Database
from worker.job import Surroundings
from worker.process.engine import Engine
from worker.settings import Settings


@pytest.fixture
def left_behind(database: DatabaseUrls) -> None:
    """The table in which test jobs leave their effects."""
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        owner.execute(LEFT_BEHIND)
        owner.execute("GRANT ALL ON effect TO PUBLIC")


@pytest.fixture
def engine(settings: Settings, db: Database, left_behind: None) -> Iterator[Engine]:
    engine = Engine(db, Surroundings(settings, Keyring.of(settings)), on_room=lambda: None)
    yield engine
    engine.close()
