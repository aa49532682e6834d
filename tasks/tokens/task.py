"""The door of the tokens job."""

from datetime import timedelta

from tasks.tokens import store
from worker.job import job
from worker.maintenance import kind
from worker.maintenance.kind import Maintenance
from worker.maintenance.order import Order
from worker.maintenance.stages import Tally
from worker.outcomes import Outcome


@job(
    "tokens.expire",
    queue="maintenance",
    deadline_s=1800,
    load=kind.load,
    save=kind.save,
    opens=kind.opens,
)
async def expire(order: Order, resource: Maintenance) -> Outcome[Tally]:
    """End what has expired: OAuth2 tokens and codes, sessions, clients. Safe to run at any time, in any number."""
    return await resource.run(order, store.plan, time_box=timedelta(minutes=25))
