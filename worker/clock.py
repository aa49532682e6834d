"""Cron arithmetic for the clock: which slots of a schedule lie in a span of time. The arithmetic itself is Celery's."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Literal

from celery.schedules import crontab
from celery.utils.time import ffwd

_EACH_AT_MOST = 100
"""Slots that are caught up at one time where each of them counts."""


def slots(schedule: crontab, after: datetime) -> Iterator[datetime]:
    """The slots later than `after`, without end, in UTC."""
    while True:
        start, delta, _ = schedule.remaining_delta(after, ffwd=ffwd)
        after = (start + delta).astimezone(UTC)
        yield after


def due_slots(
    schedule: crontab,
    *,
    last: datetime,
    now: datetime,
    missed: Literal["once", "skip", "each"],
    on_time: timedelta = timedelta(minutes=1),
) -> list[datetime]:
    """The slots to run now: those after `last` up to `now`, thinned by what shall become of missed ones.

    A slot that is at most `on_time` old isn't missed.
    """
    passed: list[datetime] = []
    for slot in slots(schedule, last):
        if slot > now:
            break
        passed.append(slot)
    match missed:
        case "once":
            return passed[-1:]
        case "skip":
            return [slot for slot in passed[-1:] if now - slot <= on_time]
        case "each":
            return list(islice(passed, _EACH_AT_MOST))


def next_slot(schedule: crontab, after: datetime) -> datetime:
    """The first slot later than `after`."""
    return next(slots(schedule, after))
