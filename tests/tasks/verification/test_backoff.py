"""Waits: never above the cap, never below what the provider asks for."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.verification.backoff import (
    CAP_S,
    IN_PLACE_S,
    IN_PLACE_SHARE,
    LONGEST_RETRY_AFTER_S,
    is_short,
    parse_retry_after,
    patience_s,
    spread_s,
    wait_s,
)

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
DICE = st.floats(0, 1, exclude_max=True)


@given(retry=st.integers(0, 10_000), dice=DICE)
def test_without_a_wish_the_wait_is_between_nothing_and_the_cap(retry: int, dice: float) -> None:
    assert 0 <= wait_s(retry, None, dice) < CAP_S


@given(retry=st.integers(0, 50), wish=st.floats(0, LONGEST_RETRY_AFTER_S), dice=DICE)
def test_a_wish_is_exceeded_by_at_most_five_seconds(retry: int, wish: float, dice: float) -> None:
    assert wish <= wait_s(retry, wish, dice) <= wish + 5


def test_the_range_doubles_with_each_retry_up_to_the_cap() -> None:
    almost_one = 1 - 1e-9
    waits = [round(wait_s(retry, None, almost_one), 3) for retry in range(8)]
    assert waits == [0.5, 1, 2, 4, 8, 16, 20, 20]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("2", 2),
        (" 120 ", 120),
        ("3600", 3600),
        ("999999999999999999999", LONGEST_RETRY_AFTER_S),
        ("9" * 5000, LONGEST_RETRY_AFTER_S),
        ("Thu, 15 Jan 2026 10:30:05 GMT", 5),
        ("Thursday, 15-Jan-26 10:30:05 GMT", 5),
        ("Thu Jan 15 10:30:05 2026", 5),
        ("Thu, 15 Jan 2026 10:29:59 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_RETRY_AFTER_S),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("²", None),
        (None, None),
    ],
)
def test_both_forms_of_retry_after_are_read_and_nonsense_is_ignored(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


@given(st.text())
def test_no_header_breaks_the_parser(value: str) -> None:
    seconds = parse_retry_after(value, NOW)
    assert seconds is None or 0 <= seconds <= LONGEST_RETRY_AFTER_S


@given(st.integers(0, 80_000))
def test_a_date_says_the_same_as_its_seconds(seconds: int) -> None:
    date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert parse_retry_after(date, NOW) == parse_retry_after(str(seconds), NOW)


@pytest.mark.parametrize(
    ("wait", "left", "timeout", "short"),
    [
        (2.0, 115, 30, True),
        (2.01, 115, 30, False),  # more than a nap
        (1.0, 4.9, 1, False),  # more than a fifth of what is left
        (1.0, 5.0, 1, True),
        (0.5, 30, 30, False),  # no whole call fits afterwards
        (0.0, 0, 0, True),
        (0.0, -1, 1, False),
    ],
)
def test_only_a_nap_that_leaves_time_for_a_call_is_waited_in_place(
    wait: float, left: float, timeout: float, short: bool
) -> None:
    assert is_short(wait, left, timeout) is short


@given(left=st.floats(-10, 1000), timeout=st.floats(1, 90))
def test_patience_never_reaches_into_the_time_of_a_call(left: float, timeout: float) -> None:
    patience = patience_s(left, timeout)
    assert 0 <= patience <= IN_PLACE_S
    assert patience == 0 or (patience <= IN_PLACE_SHARE * left and left - patience >= timeout - 1e-9)


@given(wait=st.floats(0, 86_400), dice=DICE)
def test_those_who_wait_for_one_moment_come_after_it_and_soon(wait: float, dice: float) -> None:
    assert wait <= spread_s(wait, dice) <= wait + 10
