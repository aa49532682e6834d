"""Cron arithmetic for the clock: which slots of a schedule lie in a span of time. The arithmetic itself is Celery's."""

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from celery.schedules import crontab
from celery.utils.time import ffwd


def slots(schedule: crontab, after: datetime) -> Iterator[datetime]:
    """The slots later than `after`, without end, in UTC."""
    while True:
        start, delta, _ = schedule.remaining_delta(after, ffwd=ffwd)
        after = (start + delta).astimezone(UTC)
        yield after


def due_slots(
    schedule: crontab, *, last: datetime, now: datetime, most: int = 1, on_time: timedelta | None = None
) -> list[datetime]:
    """The slots to run now: of those after `last` up to `now` the latest `most`, oldest first.

    With `on_time`, only what is no older than that.
    """
    passed: deque[datetime] = deque(maxlen=most)
    for slot in slots(schedule, last):
        if slot > now:
            break
        passed.append(slot)
    return [slot for slot in passed if on_time is None or now - slot <= on_time]


def next_slot(schedule: crontab, after: datetime) -> datetime:
    """The first slot later than `after`."""
    return next(slots(schedule, after))
