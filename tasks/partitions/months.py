"""Which months need a partition."""

from datetime import date

MONTHS_AHEAD = 3


def months_to_ensure(today: date) -> list[date]:
    """First days of the current month and of the three after it, in UTC's calendar."""
    first = today.year * 12 + today.month - 1
    return [date(month // 12, month % 12 + 1, 1) for month in range(first, first + MONTHS_AHEAD + 1)]
