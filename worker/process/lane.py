"""What the engine keeps for one kind: its opened resource, and the gatherers of its claims and finishes."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from worker.gather import Gatherer
from worker.job import Finished
from worker.process.room import Room
from worker.process.transactions import Claimed, Transactions
from worker.settings import Settings

_CALM = 16
_LONGEST = 8


def linger_s(calm_s: float, in_hand: int) -> float:
    """How long jobs gather: `calm_s`, and beyond 16 of them in hand in proportion to their number, up to eight times.

    A transaction costs some milliseconds however many jobs it is for, and with so many at work nobody waits for one.
    """
    return calm_s * min(_LONGEST, max(1.0, in_hand / _CALM))


class Lane:
    """Jobs of one kind that are claimed or finished at about the same time share a transaction here."""

    def __init__(
        self, transactions: Transactions, resource: Any, settings: Settings, room: Room, *, at_once: int
    ) -> None:
        self.resource = resource
        self._transactions = transactions

        def linger() -> float:
            return linger_s(settings.gather_ms / 1000, room.taken)

        self.claims: Gatherer[Sequence[UUID], list[Claimed]] = Gatherer(
            self._claim, linger_s=linger, at_most=settings.gather_max, at_once=at_once
        )
        self.finishes: Gatherer[Finished, bool] = Gatherer(
            self._finish, linger_s=linger, at_most=settings.gather_max, at_once=at_once
        )

    async def _claim(self, hints: list[Sequence[UUID]]) -> list[list[Claimed]]:
        claimed = {claim[0].id: claim for claim in await self._transactions.claim([i for ids in hints for i in ids])}
        # Two hints may name the same job: it goes to the first.
        return [[claimed.pop(job_id) for job_id in ids if job_id in claimed] for ids in hints]

    async def _finish(self, runs: list[Finished]) -> list[bool]:
        ours = await self._transactions.finish(runs)
        return [run.job.id in ours for run in runs]
