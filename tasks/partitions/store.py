"""The SQL of the partitions job."""

from collections.abc import Mapping, Sequence
from datetime import date
from uuid import UUID

from sqlalchemy import Connection, text

from worker.job import Finished, Job
from worker.outcomes import Done


def load(connection: Connection, jobs: Sequence[Job]) -> Mapping[UUID, date]:
    """Today, by the database's clock."""
    today: date = connection.execute(text("SELECT (now() AT TIME ZONE 'UTC')::date")).scalar_one()
    return {job.id: today for job in jobs}


def save(connection: Connection, finished: Sequence[Finished]) -> None:
    """Create the partitions that are missing. The function takes an advisory lock and leaves existing ones alone."""
    months = {month for run in finished if isinstance(run.outcome, Done) for month in run.outcome.result}
    for month in sorted(months):
        connection.execute(text("SELECT create_monthly_audit_partition(:month)"), {"month": month})
