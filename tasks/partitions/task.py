"""The doors of the partitions job."""

from datetime import timedelta

from tasks.partitions import store
from worker.job import job
from worker.maintenance import kind
from worker.maintenance.kind import Maintenance
from worker.maintenance.order import Order
from worker.maintenance.stages import Tally
from worker.outcomes import Outcome


@job(
    "partitions.ensure",
    queue="maintenance",
    deadline_s=1800,
    load=kind.load,
    save=kind.save,
    opens=kind.opens,
)
async def ensure(order: Order, resource: Maintenance) -> Outcome[Tally]:
    """Have the audit partitions of this month and the next three, and let go of months that are over."""
    return await resource.run(order, store.plan_ensure, time_box=timedelta(minutes=25))


@job(
    "partitions.repair",
    queue="maintenance",
    deadline_s=3600,
    load=kind.load,
    save=kind.save,
    opens=kind.opens,
)
async def repair(order: Order, resource: Maintenance) -> Outcome[Tally]:
    """Move what fell into the default partition to months of its own. Safe to run at any time, in any number."""
    return await resource.run(order, store.plan_repair, time_box=timedelta(minutes=50))
