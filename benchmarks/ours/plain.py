"""Asks this system for jobs of a declared kind, with nothing of the domain around them."""

from collections.abc import Sequence

from tasks.rating.task import recalculate
from worker.bulk import enqueue_many as ask_many
from worker.enqueue import enqueue


def args_of(id_: int) -> dict[str, str]:
    return {"quote_id": f"00000000-0000-0000-0000-{id_:012d}"}


def enqueue_one(id_: int) -> None:
    enqueue(None, recalculate, args_of(id_))


def enqueue_many(ids: Sequence[int]) -> None:
    ask_many(None, recalculate, [args_of(id_) for id_ in ids])
