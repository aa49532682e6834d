"""Asks this system for verifications inside a transaction that the caller has begun, a hundred in each."""

from collections.abc import Sequence

from worker.database import Database
from worker.dev.demo.sample import INTEGRATION
from worker.enqueue import enqueue_verification
from worker.settings import load_database_settings

JOBS = 100
_database = Database(load_database_settings())


def enqueue_many(ids: Sequence[int]) -> None:
    for start in range(0, len(ids), JOBS):
        with _database.transaction() as connection:
            for id_ in ids[start : start + JOBS]:
                enqueue_verification(connection, integration=INTEGRATION, driver_id=id_)
