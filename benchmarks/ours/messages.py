"""Asks this system for verifications, with a message in the broker for each: as other systems have it.

By itself it doesn't get there: from two hundred messages on, jobs wait in PostgreSQL and share messages.
"""

import os
from collections.abc import Sequence

from sqlalchemy import create_engine

from worker.bulk import Verification, enqueue_verifications
from worker.dev.demo.sample import INTEGRATION
from worker.enqueue import EnqueuedVerification, enqueue_verification
from worker.hints import Hints
from worker.settings import DatabaseSettings, load_database_settings


def enqueue_one(id_: int) -> None:
    enqueue_verification(integration=INTEGRATION, driver_id=id_)


def enqueue_many(ids: Sequence[int]) -> None:
    settings: DatabaseSettings = load_database_settings()
    engine = create_engine(settings.application_url)
    with engine.begin() as connection:  # of our own: nothing is hinted at after its commit
        asked = enqueue_verifications(connection, [Verification(INTEGRATION, driver_id=id_) for id_ in ids])
    engine.dispose()
    hints = Hints(os.environ["REDIS_URL"])
    for one in asked:
        assert isinstance(one, EnqueuedVerification)  # noqa: S101 - all of them are new and well-formed
        hints.send("verification", "verification.verify", [one.job_id])
    hints.close()
