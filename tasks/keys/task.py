"""The door of the keys job."""

from datetime import timedelta

from tasks.keys import store
from worker.job import job
from worker.maintenance import kind
from worker.maintenance.kind import Maintenance
from worker.maintenance.order import Order
from worker.maintenance.stages import Tally
from worker.outcomes import Outcome


@job(
    "keys.rotate",
    queue="maintenance",
    deadline_s=3600,
    load=kind.load,
    save=kind.save,
    opens=kind.opens,
)
async def rotate(order: Order, resource: Maintenance) -> Outcome[Tally]:
    """Encrypt with the first key what older ones encrypt. Safe to run at any time, under load, and again."""
    keyring = resource.keyring
    return await resource.run(
        order, lambda connection, order: store.plan(connection, order, keyring), time_box=timedelta(minutes=55)
    )
