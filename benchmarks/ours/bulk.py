"""Asks this system for verifications: one in a transaction of its own, many at once."""

from collections.abc import Sequence

from worker.bulk import Verification, enqueue_verifications
from worker.dev.demo.sample import INTEGRATION
from worker.enqueue import enqueue_verification


def enqueue_one(id_: int) -> None:
    enqueue_verification(integration=INTEGRATION, driver_id=id_)


def enqueue_many(ids: Sequence[int]) -> None:
    enqueue_verifications(None, [Verification(INTEGRATION, driver_id=id_) for id_ in ids])
