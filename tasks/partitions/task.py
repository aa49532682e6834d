"""The door of the partitions job."""

from datetime import date

from tasks.partitions import store
from tasks.partitions.months import months_to_ensure
from worker.job import job
from worker.outcomes import Done, Outcome


@job("partitions.ensure", queue="maintenance", deadline_s=60, load=store.load, save=store.save)
async def ensure(today: date) -> Outcome[list[date]]:
    """Have the audit partitions of this month and the next three. Safe to run at any time, in any number."""
    return Done(months_to_ensure(today))
