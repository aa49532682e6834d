"""A platform on which the masking jobs run."""

from collections.abc import Iterator

import pytest

from tasks.masking.task import mask_completed, sweep
from tests.conftest import DatabaseUrls
from tests.tasks.maintaining import Maintained, maintained
from worker.database import Database
from worker.settings import Settings


@pytest.fixture
def platform(settings: Settings, db: Database, database: DatabaseUrls) -> Iterator[Maintained]:
    with maintained(settings, db, database, sweep) as platform:
        yield platform


@pytest.fixture
def completed(settings: Settings, db: Database, database: DatabaseUrls) -> Iterator[Maintained]:
    """The same, to mask what is over at once."""
    with maintained(settings, db, database, mask_completed) as completed:
        yield completed
