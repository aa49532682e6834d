"""The SQL of noticing that a filed date has been reached."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import Connection, text

from models.ledger import ENTRY
from worker.job import Finished, Job
from worker.outcomes import Done


def load(connection: Connection, jobs: Sequence[Job]) -> Mapping[UUID, list[tuple[str | None, str | None]]]:
    """The products of which something has come into force or gone out of it since the last run."""
    return {job.id: [tuple(row) for row in connection.execute(_TURNED, {"job": job.id})] for job in jobs}


# Since the day of the last slot of the same entry that was done; a week back for the first. By the index of slots.
_TURNED = text(
    f"""
    WITH since AS (
        SELECT coalesce(max((scheduled_for AT TIME ZONE 'UTC')::date), (now() AT TIME ZONE 'UTC')::date - 7) AS day
        FROM job WHERE {ENTRY} = (SELECT {ENTRY} FROM job WHERE id = :job)
            AND scheduled_for IS NOT NULL AND state = 'done'
    ), filed AS (
        SELECT state, product_type, effective_date, expiration_date FROM rate_tables WHERE is_active
        UNION ALL SELECT state, product_type, effective_date, expiration_date FROM rating_plans WHERE is_active
        UNION ALL SELECT state, product_type, effective_date, expiration_date FROM discount_rules WHERE is_active
        UNION ALL SELECT state, product_type, effective_date, expiration_date FROM surcharge_rules WHERE is_active
        UNION ALL SELECT state, product_type, effective_date, expiration_date FROM state_rating_rules WHERE is_active
    )
    SELECT DISTINCT state, product_type FROM filed, since
    WHERE daterange(since.day, (now() AT TIME ZONE 'UTC')::date, '(]') @> effective_date
       OR daterange(since.day, (now() AT TIME ZONE 'UTC')::date, '(]') @> expiration_date
    ORDER BY state, product_type
    """  # noqa: S608 - a constant of ours
)


def save(connection: Connection, finished: Sequence[Finished]) -> None:
    """A recalculation of each such product; quotes whose rates stay the same are only looked at."""
    products = {product for run in finished if isinstance(run.outcome, Done) for product in run.outcome.result}
    for state, product in sorted(products, key=str):
        connection.execute(_ENQUEUE, {"state": state, "product": product})


_ENQUEUE = text("SELECT enqueue_quotes_recalculation(:state, :product, p_reason => 'effective_date')")
