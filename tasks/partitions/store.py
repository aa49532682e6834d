"""The SQL of the partitions job: functions of the database do the work, for the application owns no table."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, text

from tasks.partitions.months import months_over, months_to_ensure, watched_month
from worker.enqueue import enqueue
from worker.job import declared
from worker.maintenance.order import Order
from worker.maintenance.stages import Batch, Plan, Problem

_KEPT_AT_LEAST_DAYS = 365  # as the function that retires a month has it


def plan_ensure(connection: Connection, _order: Order) -> Plan:
    """Months ahead, then months that are over. Rows in the default partition ask for a repair of their own."""
    today: date = connection.execute(_TODAY).scalar_one()
    alarms = []
    if not _is_there(connection, watched_month(today)):
        alarms.append(
            Problem("partition_missing", f"There was no partition for {watched_month(today):%Y-%m}, 40 days ahead.")
        )
    if connection.execute(_HAS_STRAYS).scalar_one():
        enqueue(connection, declared()["partitions.repair"], idempotency_key=f"strays of {today}")
        alarms.append(Problem("rows_in_default", "The default partition holds rows; partitions.repair was asked for."))
    over = months_over(_months(connection), today, max(_KEPT_AT_LEAST_DAYS, _retention_days(connection)))
    stages = [Months("months ahead", months_to_ensure(today), _CREATE), Months("months over", over, _RETIRE)]
    return Plan(stages, alarms=alarms)


def plan_repair(connection: Connection, _order: Order) -> Plan:
    """A partition for each month that has rows in the default one; those rows move into it."""
    strays = connection.execute(_STRAY_MONTHS).scalars().all()
    retired = [month for month in strays if _is_there(connection, month)]
    problems = [
        Problem("month_was_retired", f"Rows of {month:%Y-%m} stay in the default partition: that month was detached.")
        for month in retired
    ]
    return Plan([Months("months missed", [month for month in strays if month not in retired], _MOVE)], problems)


@dataclass(frozen=True, slots=True)
class Months:
    """One month a batch. `sql` says in a word what became of it; a month that is there already was not touched."""

    name: str
    months: Sequence[date]
    sql: str
    most: int = 1

    def size(self, connection: Connection) -> int:
        return len(self.months)

    def batch(self, connection: Connection, after: Any, limit: int) -> Batch:
        number = after or 0
        if number >= len(self.months):
            return Batch(0)
        # Moving the rows of a month that was missed takes as long as it takes; only the default partition waits.
        connection.execute(text("SET LOCAL statement_timeout = '10min'"))
        word = connection.execute(text(self.sql), {"month": self.months[number]}).scalar_one()
        return Batch(1, {word: 1}, after=number + 1)


_CREATE = """
    SELECT CASE WHEN to_regclass('public.audit_logs_' || to_char(CAST(:month AS date), 'YYYY_MM')) IS NOT NULL
                THEN 'there'
                WHEN create_monthly_audit_partition(:month) IS NOT NULL THEN 'made' END
"""
_RETIRE = "SELECT retire_audit_month(:month)"
_MOVE = "SELECT CASE WHEN create_monthly_audit_partition(:month) IS NOT NULL THEN 'repaired' END"

_TODAY = text("SELECT (now() AT TIME ZONE 'UTC')::date")

_HAS_STRAYS = text("SELECT EXISTS (SELECT FROM audit_logs_default)")

_STRAY_MONTHS = text(
    """
    SELECT DISTINCT date_trunc('month', created_at AT TIME ZONE 'UTC')::date AS month
    FROM audit_logs_default WHERE isfinite(created_at) ORDER BY month
    """
)


def _is_there(connection: Connection, month: date) -> bool:
    name = f"public.audit_logs_{month:%Y_%m}"
    return bool(connection.execute(text("SELECT to_regclass(:name) IS NOT NULL"), {"name": name}).scalar_one())


def _months(connection: Connection) -> list[date]:
    """Months that are attached, or detached and not dropped yet."""
    names = connection.execute(_MONTH_NAMES).scalars()
    return [date(int(name[-7:-3]), int(name[-2:]), 1) for name in names]


_MONTH_NAMES = text(
    """
    SELECT relname FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
      AND relname ~ '^audit_logs_[0-9]{4}_(0[1-9]|1[0-2])$'
    """
)


def _retention_days(connection: Connection) -> int:
    days: int | None = connection.execute(_POLICY).scalar()
    return days if days is not None else 10**6


_POLICY = text("SELECT retention_days FROM data_retention_policies WHERE table_name = 'audit_logs' AND enabled")
