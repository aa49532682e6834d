"""Slots of a schedule against a plain count of minutes, over the calendar's edges, and with clocks away or wrong."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from celery.schedules import crontab
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.clock.moments import decide, next_slot, overdue_from, slots

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


FROM, UNTIL = datetime(2021, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)
ZONES = {
    "America/New_York": "the plain case",
    "Europe/Berlin": "so too, on other days",
    "Australia/Lord_Howe": "half an hour only, and in the south",
    "America/Havana": "there is no midnight, or there are two",
    "America/Nuuk": "the last hour of a day is left out, or comes twice",
}


def found_until(until: datetime, schedule: crontab, after: datetime, zone: ZoneInfo) -> list[datetime]:
    return list(takewhile(lambda slot: slot < until, slots(schedule, after, zone)))


@pytest.mark.parametrize("zone", ZONES)
def test_in_ten_years_every_hour_of_the_wall_clock_has_its_slot(zone: str) -> None:
    found = found_until(UNTIL, crontab(minute="30"), FROM, ZoneInfo(zone))
    halves = (FROM + timedelta(minutes=30 * n) for n in range(1, (UNTIL - FROM) // timedelta(minutes=30)))
    assert found == [moment for moment in halves if moment.astimezone(ZoneInfo(zone)).minute == 30]


@pytest.mark.parametrize("zone", ZONES)
@settings(max_examples=15)
@given(hour=st.integers(0, 3) | st.integers(22, 23), minute=st.integers(0, 59))
def test_in_ten_years_every_day_has_its_slot_once(zone: str, hour: int, minute: int) -> None:
    place = ZoneInfo(zone)
    found = found_until(UNTIL, crontab(minute=str(minute), hour=str(hour)), FROM, place)
    assert all(earlier < later for earlier, later in pairwise(found))
    days = [FROM.replace(tzinfo=None) + timedelta(days=n) for n in range(-1, (UNTIL - FROM).days + 1)]
    on_the_wall = [day.replace(hour=hour, minute=minute) for day in days]
    shown = {wall: wall.replace(tzinfo=place).astimezone(UTC) for wall in on_the_wall}
    assert found == [moment for moment in shown.values() if FROM < moment < UNTIL]
    for wall, moment in shown.items():
        late = moment.astimezone(place).replace(tzinfo=None) - wall
        assert late in (timedelta(0), timedelta(minutes=30), timedelta(hours=1)), "later only where clocks skip it"
    assert sum(slot.astimezone(place).fold for slot in found) == 0, "of two passes the first counts"


@pytest.mark.parametrize(
    ("zone", "schedule", "after", "expected"),
    [
        ("America/New_York", crontab("30", "2"), "2026-03-07 12:00", ["2026-03-08 07:30", "2026-03-09 06:30"]),
        ("America/New_York", crontab("30", "1"), "2026-10-31 12:00", ["2026-11-01 05:30", "2026-11-02 06:30"]),
        ("America/New_York", crontab("0,30", "2,3"), "2026-03-08 06:59", ["2026-03-08 07:00", "2026-03-08 07:30"]),
        ("America/New_York", crontab("30"), "2026-11-01 05:00", ["2026-11-01 05:30", "2026-11-01 06:30"]),
        ("America/New_York", crontab("30"), "2026-03-08 06:00", ["2026-03-08 06:30", "2026-03-08 07:30"]),
        ("Europe/Berlin", crontab("10", "2"), "2026-03-28 12:00", ["2026-03-29 01:10", "2026-03-30 00:10"]),
        ("Australia/Lord_Howe", crontab("15", "2"), "2026-10-03 12:00", ["2026-10-03 15:45", "2026-10-04 15:15"]),
        ("America/Havana", crontab("10", "0"), "2026-03-07 12:00", ["2026-03-08 05:10", "2026-03-09 04:10"]),
        ("America/Nuuk", crontab("15,45", "0,23"), "2026-03-29 00:50", ["2026-03-29 01:15", "2026-03-29 01:45"]),
        ("Pacific/Apia", crontab("0", "12"), "2011-12-29 23:00", ["2011-12-30 22:00", "2011-12-31 22:00"]),
        ("Asia/Kathmandu", crontab("0", "0", day_of_month="1"), "2026-01-15", ["2026-01-31 18:15", "2026-02-28 18:15"]),
        (
            "America/New_York",
            crontab("0", "0", day_of_month="29", month_of_year="2"),
            "2096-03-01",
            ["2104-02-29 05:00"],
        ),
    ],
    ids=str,
)
def test_slots_where_clocks_are_changed(zone: str, schedule: crontab, after: str, expected: list[str]) -> None:
    found = islice(slots(schedule, utc(after), ZoneInfo(zone)), len(expected))
    assert list(found) == [utc(slot) for slot in expected]


def test_a_day_that_never_comes_has_no_slot() -> None:
    monday_in_a_leap_year = crontab("0", "0", day_of_month="29", month_of_year="2", day_of_week="mon")
    assert list(slots(monday_in_a_leap_year, NOON)) == [], "the next one is in 2044"


TICKS = st.lists(
    st.one_of(
        st.integers(1, 30).map(lambda seconds: timedelta(seconds=seconds)),
        st.integers(1, 45).map(lambda minutes: timedelta(minutes=minutes)),  # away
        st.integers(1, 50).map(lambda hours: timedelta(hours=hours)),
        st.integers(-300, 300).map(lambda seconds: timedelta(seconds=seconds)),  # set right
    ),
    max_size=25,
)


@settings(max_examples=150)
@given(
    schedule=SCHEDULES, start=MOMENTS, ticks=TICKS, zone=st.sampled_from(["UTC", *ZONES]), most=st.sampled_from([1, 3])
)
def test_a_clock_that_is_away_and_steps_decides_each_slot_once(
    schedule: crontab, start: datetime, ticks: list[timedelta], zone: str, most: int
) -> None:
    place = ZoneInfo(zone)
    decided_until = now = latest = start
    run, missed = list[datetime](), 0
    for tick in ticks:
        now += tick
        latest = max(latest, now)
        decision = decide(schedule, place, decided_until=decided_until, now=now, most=most)
        behind = found_until(now + timedelta(microseconds=1), schedule, decided_until, place)
        assert decision.run == behind[-most:]
        run += decision.run
        missed += decision.missed
        decided_until = decision.until
    passed = found_until(latest + timedelta(microseconds=1), schedule, start, place)
    assert len(run) + missed == len(passed)
    assert sorted(set(run)) == run, "none twice, and in order"
    assert set(run) <= set(passed)


def test_slots_decided_by_a_clock_years_ahead_do_not_stop_the_clock() -> None:
    ahead = decide(QUARTERLY, decided_until=NOON, now=NOON + timedelta(days=400))
    back = decide(QUARTERLY, decided_until=ahead.until, now=NOON + timedelta(minutes=1))
    assert back.run == []
    assert decide(QUARTERLY, decided_until=back.until, now=NOON + timedelta(minutes=16)).run == [
        NOON + timedelta(minutes=15)
    ]


@pytest.mark.parametrize(
    ("schedule", "since", "expected"),
    [
        (crontab("10", "1"), "2026-05-05 01:15", "2026-05-07 01:15"),
        (crontab("10", "1"), "2026-05-05 13:00", "2026-05-07 13:00"),
        (crontab("10", "1", day_of_week="mon-fri"), "2026-05-08 01:15", "2026-05-12 01:10"),
        (crontab("*/5"), "2026-05-05 12:00:20", "2026-05-05 12:10:20"),
        (crontab("37"), "2026-05-05 12:38", "2026-05-05 14:38"),
    ],
    ids=str,
)
def test_overdue_after_twice_the_period(schedule: crontab, since: str, expected: str) -> None:
    assert overdue_from(schedule, utc(since)) == utc(expected)
