"""The door of the tokens job."""

from datetime import timedelta

from tasks.tokens import store
from worker import maintenance
from worker.job import job
from worker.maintenance import Maintenance, Order
from worker.outcomes import Outcome
from worker.stages import Tally


@job(
    "tokens.expire",
    queue="maintenance",
    deadline_s=1800,
    load=maintenance.load,
    save=maintenance.save,
    opens=maintenance.opens,
)
async def expire(order: Order, resource: Maintenance) -> Outcome[Tally]:
    """End what has expired: OAuth2 tokens and codes, sessions, clients. Safe to run at any time, in any number."""
    return await resource.run(order, store.plan, time_box=timedelta(minutes=25))
