"""Slots of a schedule against a plain count of minutes, over the calendar's edges, and after a clock was away."""

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from celery.schedules import crontab
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.clock import decide, next_slot, slots

MINUTE = timedelta(minutes=1)

EDGES = (
    datetime(2025, 12, 31, 23, 30, tzinfo=UTC),
    datetime(2026, 2, 28, 22, 0, tzinfo=UTC),
    datetime(2028, 2, 28, 23, 0, tzinfo=UTC),
    datetime(2026, 3, 8, 6, 30, tzinfo=UTC),  # clocks in Chicago go forward
    datetime(2026, 3, 29, 0, 30, tzinfo=UTC),  # and in Berlin
    datetime(2026, 10, 25, 0, 30, tzinfo=UTC),  # and back
    datetime(2026, 4, 30, 23, 0, tzinfo=UTC),
)
MOMENTS = st.builds(
    lambda edge, seconds: edge + timedelta(seconds=seconds),
    st.sampled_from(EDGES),
    st.floats(-86_400, 86_400).map(lambda seconds: round(seconds, 3)),
)


def one_of(low: int, high: int) -> st.SearchStrategy[str]:
    """A field of a crontab: anything, a step, or a list."""
    numbers = st.lists(st.integers(low, high), min_size=1, max_size=4)
    return st.one_of(
        st.just("*"),
        st.integers(2, 20).map(lambda step: f"*/{step}"),
        numbers.map(lambda chosen: ",".join(map(str, chosen))),
    )


SCHEDULES = st.builds(
    crontab,
    minute=one_of(0, 59),
    hour=one_of(0, 23),
    day_of_week=st.one_of(st.just("*"), one_of(0, 6)),
    day_of_month=st.one_of(st.just("*"), st.sampled_from(["1", "28", "1,31", "29,30,31", "*/2", "15"])),
    month_of_year=st.one_of(st.just("*"), st.sampled_from(["1", "2,3", "3,10", "12", "4,5", "*/2"])),
)


def minutes_that_match(schedule: crontab, after: datetime, until: datetime) -> list[datetime]:
    """The slots by plain counting: each minute is asked whether it is one."""
    minute = after.replace(second=0, microsecond=0)
    found = []
    while (minute := minute + MINUTE) <= until:
        if (
            minute.minute in schedule.minute
            and minute.hour in schedule.hour
            and minute.day in schedule.day_of_month
            and minute.month in schedule.month_of_year
            and minute.isoweekday() % 7 in schedule.day_of_week
        ):
            found.append(minute)
    return found


@settings(deadline=None)
@given(schedule=SCHEDULES, after=MOMENTS, hours=st.integers(0, 30))
def test_no_slot_is_skipped_or_repeated(schedule: crontab, after: datetime, hours: int) -> None:
    until = after + timedelta(hours=hours)
    expected = minutes_that_match(schedule, after, until)
    assert list(islice(slots(schedule, after), len(expected))) == expected
    assert next(islice(slots(schedule, after), len(expected), None)) > until


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        (crontab(minute="10", hour="1"), "2025-12-31 01:10", ["2026-01-01 01:10", "2026-01-02 01:10"]),
        (crontab(minute="10", hour="1"), "2025-12-31 01:09:59", ["2025-12-31 01:10", "2026-01-01 01:10"]),
        (
            crontab(minute="0", hour="0", day_of_month="29", month_of_year="2"),
            "2026-01-01",
            ["2028-02-29", "2032-02-29"],
        ),
        (crontab(minute="0", hour="0", day_of_month="31"), "2026-01-31", ["2026-03-31", "2026-05-31", "2026-07-31"]),
        (crontab(minute="0", hour="0", day_of_month="1"), "2026-11-30 12:00", ["2026-12-01", "2027-01-01"]),
        (
            crontab(minute="0", hour="0", day_of_month="1", month_of_year="1"),
            "2026-02-01",
            ["2027-01-01", "2028-01-01"],
        ),
        (crontab(minute="0", hour="0", day_of_week="0"), "2026-01-03", ["2026-01-04", "2026-01-11"]),
        (crontab(minute="30", hour="2"), "2026-03-28 12:00", ["2026-03-29 02:30", "2026-03-30 02:30"]),
        (crontab(minute="30", hour="1"), "2026-10-24 12:00", ["2026-10-25 01:30", "2026-10-26 01:30"]),
        (crontab(minute="59", hour="23"), "2028-02-28 23:59", ["2028-02-29 23:59", "2028-03-01 23:59"]),
    ],
    ids=str,
)
def test_edges_of_the_calendar(schedule: crontab, after: str, expected: list[str]) -> None:
    found = islice(slots(schedule, utc(after)), len(expected))
    assert list(found) == [utc(slot) for slot in expected]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@settings(deadline=None)
@given(schedule=SCHEDULES, after=MOMENTS)
def test_the_next_slot_is_the_first(schedule: crontab, after: datetime) -> None:
    assert next_slot(schedule, after) == next(slots(schedule, after))
    assert next_slot(schedule, after) > after


QUARTERLY = crontab(minute="*/15")
NOON = datetime(2026, 5, 5, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("most", "on_time", "now", "expected"),
    [
        (1, None, NOON + timedelta(minutes=14), []),
        (1, None, NOON + timedelta(minutes=15), [15]),
        (1, None, NOON + timedelta(minutes=50), [45]),
        (1, MINUTE, NOON + timedelta(minutes=14), []),
        (1, MINUTE, NOON + timedelta(minutes=15), [15]),
        (1, MINUTE, NOON + timedelta(minutes=16), [15]),
        (1, MINUTE, NOON + timedelta(minutes=16, seconds=1), []),
        (1, MINUTE, NOON + timedelta(minutes=45), [45]),
        (1, MINUTE, NOON + timedelta(minutes=50), []),
        (2, None, NOON + timedelta(minutes=14), []),
        (2, None, NOON + timedelta(minutes=50), [30, 45]),
        (9, None, NOON + timedelta(minutes=50), [15, 30, 45]),
        (1, None, NOON - timedelta(hours=1), []),
        (9, None, NOON - timedelta(hours=1), []),
    ],
)
def test_what_becomes_of_missed_slots(most: int, on_time: timedelta | None, now: datetime, expected: list[int]) -> None:
    due = decide(QUARTERLY, decided_until=NOON, now=now, most=most, on_time=on_time)
    assert due.run == [NOON + timedelta(minutes=minutes) for minutes in expected]
