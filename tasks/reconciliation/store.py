"""The reconciliation job needs nothing of its rows, and leaves its findings as its own end."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import Connection

from worker.job import Finished, Job


def load(_connection: Connection, jobs: Sequence[Job]) -> Mapping[UUID, None]:
    """Nothing: what is read takes longer than a claim may."""
    return {job.id: None for job in jobs}


def save(_connection: Connection, _finished: Sequence[Finished]) -> None:
    """Nothing is written but the job's own row."""
