"""The door of the retention job."""

from datetime import timedelta

from tasks.retention import store
from worker.job import job
from worker.maintenance import kind
from worker.maintenance.kind import Maintenance
from worker.maintenance.order import Order
from worker.maintenance.stages import Tally
from worker.outcomes import Outcome


@job(
    "retention.sweep",
    queue="maintenance",
    deadline_s=3600,
    load=kind.load,
    save=store.save,
    opens=kind.opens,
)
async def sweep(order: Order, resource: Maintenance) -> Outcome[Tally]:
    """Remove what `data_retention_policies` say is overdue and no legal hold protects. Safe to run at any time."""
    return await resource.run(order, store.plan, time_box=timedelta(minutes=50))
