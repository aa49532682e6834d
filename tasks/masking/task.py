"""The doors of the masking job."""

from datetime import timedelta

from tasks.masking import store
from worker.job import job
from worker.maintenance import kind
from worker.maintenance.kind import Maintenance
from worker.maintenance.order import Order
from worker.maintenance.stages import Tally
from worker.outcomes import Outcome

_TIME_BOX = timedelta(minutes=50)


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
        order, lambda connection, _: store.plan(connection, store.by_policy, keyring), time_box=_TIME_BOX
    )


@job(
    "masking.completed",
    queue="maintenance",
    deadline_s=3600,
    load=kind.load,
    save=kind.save,
    opens=kind.opens,
)
async def mask_completed(order: Order, resource: Maintenance) -> Outcome[Tally]:
    """Mask requests that are over, where the policy is to do so at once. The function `mask_when_over` asks for it."""
    keyring = resource.keyring
    return await resource.run(
        order, lambda connection, _: store.plan(connection, store.what_is_over, keyring), time_box=_TIME_BOX
    )
