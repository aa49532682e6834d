"""Which months need a partition: this one and the three after it, in any year."""

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.partitions.months import months_over, months_to_ensure, watched_month


@pytest.mark.parametrize(
    ("today", "months"),
    [
        ("2026-01-01", ["2026-01", "2026-02", "2026-03", "2026-04"]),
        ("2026-09-30", ["2026-09", "2026-10", "2026-11", "2026-12"]),
        ("2026-10-01", ["2026-10", "2026-11", "2026-12", "2027-01"]),
        ("2026-12-31", ["2026-12", "2027-01", "2027-02", "2027-03"]),
        ("2028-02-29", ["2028-02", "2028-03", "2028-04", "2028-05"]),
    ],
)
def test_the_year_turns_after_december(today: str, months: list[str]) -> None:
    assert [f"{month:%Y-%m}" for month in months_to_ensure(date.fromisoformat(today))] == months


DAYS = st.dates(date(1970, 1, 1), date(9999, 8, 31))


@given(DAYS)
def test_months_begin_on_their_first_day_and_follow_each_other(today: date) -> None:
    months = months_to_ensure(today)
    assert len(months) == 4
    assert months[0] == today.replace(day=1)
    for month, following in pairwise(months):
        assert month.day == following.day == 1
        assert following - timedelta(days=1) >= month + timedelta(days=27)
        assert (following - timedelta(days=1)).month == month.month, "no month lies between them"


@given(DAYS, st.integers(0, 30))
def test_any_day_of_a_month_needs_the_same_months(today: date, days: int) -> None:
    other = today + timedelta(days=days)
    assert (months_to_ensure(today) == months_to_ensure(other)) is (today.replace(day=1) == other.replace(day=1))


@given(DAYS)
def test_a_run_that_is_missed_for_three_months_leaves_no_day_without_a_partition(today: date) -> None:
    in_three_months = months_to_ensure(today)[-1]
    assert in_three_months in months_to_ensure(in_three_months)


@given(DAYS)
def test_the_watched_month_is_always_one_of_those_that_are_made(today: date) -> None:
    assert watched_month(today) in months_to_ensure(today)[1:]
    assert watched_month(today) in months_to_ensure(today - timedelta(days=today.day))


@pytest.mark.parametrize(
    ("today", "days", "over"),
    [
        ("2026-03-01", 365, ["2025-01", "2025-02"]),
        ("2026-02-28", 365, ["2025-01"]),
        ("2026-02-01", 365, ["2025-01"]),
        ("2026-01-31", 365, []),
        ("2028-03-01", 1, ["2025-01", "2025-02", "2028-01"]),
    ],
)
def test_a_month_is_over_when_its_last_day_is(today: str, days: int, over: list[str]) -> None:
    months = [date(2028, 2, 1), date(2025, 2, 1), date(2028, 1, 1), date(2025, 1, 1)]
    assert [f"{month:%Y-%m}" for month in months_over(months, date.fromisoformat(today), days)] == over


@given(st.dates(date(1970, 1, 1), date(9990, 1, 1)), st.integers(1, 2000), st.integers(0, 40))
def test_no_month_is_over_before_each_of_its_days_is(month: date, days: int, later: int) -> None:
    first = month.replace(day=1)
    for day in range(28):
        kept_until = first + timedelta(days=day + days)
        assert months_over([first], kept_until, days) == []
    assert months_over([first], first + timedelta(days=31 + days + later), days) == [first]
