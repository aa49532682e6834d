"""The door of the retention job."""

from datetime import timedelta

from tasks.retention import store
from worker import maintenance
from worker.job import job
from worker.maintenance import Maintenance, Order
from worker.outcomes import Outcome
from worker.stages import Tally


@job(
    "retention.sweep",
    queue="maintenance",
    deadline_s=3600,
    load=maintenance.load,
    save=store.save,
    opens=maintenance.opens,
)
async def sweep(order: Order, resource: Maintenance) -> Outcome[Tally]:
    """Remove what `data_retention_policies` say is overdue and no legal hold protects. Safe to run at any time."""
    return await resource.run(order, store.plan, time_box=timedelta(minutes=50))
