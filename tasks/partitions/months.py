"""Which months need a partition, which ones are over, and which must be there for the trail to be safe."""

from collections.abc import Collection
from datetime import date, timedelta

MONTHS_AHEAD = 3

_WATCHED_AHEAD = timedelta(days=40)
"""A partition this far ahead is made two months before: if it is missing, the job has not run for weeks."""


def months_to_ensure(today: date) -> list[date]:
    """First days of the current month and of the three after it, in UTC's calendar."""
    first = today.year * 12 + today.month - 1
    return [date(month // 12, month % 12 + 1, 1) for month in range(first, first + MONTHS_AHEAD + 1)]


def watched_month(today: date) -> date:
    """First day of the month that must have its partition by now, or somebody has to look."""
    return (today + _WATCHED_AHEAD).replace(day=1)


def months_over(months: Collection[date], today: date, retention_days: int) -> list[date]:
    """Those of `months`, oldest first, whose last day lies more than `retention_days` back."""
    return sorted(month for month in months if _next(month) + timedelta(days=retention_days) <= today)


def _next(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)
