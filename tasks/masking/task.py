"""The door of the masking job."""

from datetime import timedelta

from tasks.masking import store
from worker.job import job
from worker.maintenance import kind
from worker.maintenance.kind import Maintenance
from worker.maintenance.order import Order
from worker.maintenance.stages import Tally
from worker.outcomes import Outcome


@job(
    "masking.sweep",
    queue="maintenance",
    deadline_s=3600,
    load=kind.load,
    save=kind.save,
    opens=kind.opens,
)
async def sweep(order: Order, resource: Maintenance) -> Outcome[Tally]:
    """Mask what is older than `mask_after_days` and no legal hold protects. Safe to run at any time."""
    keyring = resource.keyring
    return await resource.run(
        order, lambda connection, order: store.plan(connection, order, keyring), time_box=timedelta(minutes=50)
    )
