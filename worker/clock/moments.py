"""The clock's arithmetic: which slots of a schedule lie in a span of time, and which of them run.

Celery parses the crontab and says which days, hours and minutes it means. Which moments those are is decided here,
because Celery's own arithmetic counts on the wall clock and loses slots where that is put back. What holds:

- A schedule that names its hours has one slot for each time on the calendar. Where clocks are put back over it, the
  first pass counts; where they are put forward over it, it is as much later as they are put forward.
- A schedule of every hour has one slot for each time that the wall clock really shows, however often.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import islice

from celery.schedules import crontab

_DAY = timedelta(days=1)

_NEVER = timedelta(days=3660)
"""A schedule without a slot for so long has none: even the 29th of February comes every eight years."""

_WRONG_CLOCK = timedelta(hours=1)
"""What was decided further ahead than this was decided by a clock that was wrong."""


def slots(schedule: crontab, after: datetime, zone: tzinfo = UTC) -> Iterator[datetime]:
    """The slots later than `after`, in order and in UTC. `zone` is whose wall clock the schedule reads.

    Without end, but for a schedule that has no slot in ten years.
    """
    day = after.astimezone(zone).date() - _DAY  # yesterday's last ones may have been put forward to today
    end = day + _NEVER
    found: set[datetime] = set()
    while day < end:
        if _is_day_of(schedule, day):
            found.update(_slots_of(schedule, day, zone))
            end = day + _NEVER
        day += _DAY
        reached = datetime.combine(day, time(), zone).astimezone(UTC)
        yield from sorted(slot for slot in found if after < slot < reached)
        found = {slot for slot in found if slot >= reached}


def next_slot(schedule: crontab, after: datetime, zone: tzinfo = UTC) -> datetime:
    """The first slot later than `after`; `StopIteration` for a schedule that has none."""
    return next(slots(schedule, after, zone))


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of the slots up to `until`: those in `run` get a job each, oldest first, and `missed` ones none."""

    run: list[datetime]
    missed: int
    until: datetime


def decide(
    schedule: crontab,
    zone: tzinfo = UTC,
    *,
    decided_until: datetime,
    now: datetime,
    most: int = 1,
    on_time: timedelta | None = None,
) -> Decision:
    """Of the slots after `decided_until` up to `now` the latest `most` run; with `on_time`, only if no older than that.

    Deciding in several steps gives no slot twice, also where `now` steps back in between.
    """
    if decided_until > now + _WRONG_CLOCK:
        decided_until = now
    run: deque[datetime] = deque(maxlen=most)
    passed, until = 0, decided_until
    for slot in slots(schedule, decided_until, zone):
        if slot > now:
            break
        passed += 1
        until = slot
        run.append(slot)
    kept = [slot for slot in run if on_time is None or now - slot <= on_time]
    return Decision(kept, passed - len(kept), until)


def overdue_from(schedule: crontab, since: datetime, zone: tzinfo = UTC) -> datetime:
    """The moment from which it is alarming that nothing succeeded since `since`: after twice the schedule's period.

    And not before two slots have passed, so that no weekend between two slots is alarming.
    """
    first, second = islice(slots(schedule, since, zone), 2)
    return max(second, since + 2 * (second - first))


def _is_day_of(schedule: crontab, day: date) -> bool:
    return (
        day.day in schedule.day_of_month
        and day.month in schedule.month_of_year
        and day.isoweekday() % 7 in schedule.day_of_week
    )


def _slots_of(schedule: crontab, day: date, zone: tzinfo) -> Iterator[datetime]:
    is_every_hour = len(schedule.hour) == 24
    for hour in schedule.hour:
        for minute in schedule.minute:
            wall = datetime.combine(day, time(hour, minute), zone)
            if not is_every_hour:
                yield wall.astimezone(UTC)
                continue
            for pass_ in (0, 1):  # differ only where clocks are put back; put forward, neither comes back as itself
                moment = wall.replace(fold=pass_).astimezone(UTC)
                if moment.astimezone(zone).replace(tzinfo=None, fold=0) == wall.replace(tzinfo=None):
                    yield moment
