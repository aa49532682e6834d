"""Laws of the spacing: never above the rate, never slower than it for those who wait."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tasks.verification.bucket import Bucket

RATES = st.floats(0.1, 1000)
GAPS = st.lists(st.floats(0, 5), min_size=2, max_size=60)
CLOSE = 1e-6


@given(RATES, GAPS)
def test_no_two_moments_are_closer_than_the_rate_allows(rate: float, gaps: list[float]) -> None:
    bucket, now, moments = Bucket(rate), 0.0, list[float]()
    for gap in gaps:
        now += gap
        wait_s = bucket.take(now, patience_s=float("inf"))
        assert wait_s is not None
        moments.append(now + wait_s)
    assert all(later - earlier >= 1 / rate - CLOSE for earlier, later in pairwise(moments))


@given(RATES, GAPS, st.floats(0, 3))
def test_whoever_is_turned_away_has_taken_nothing(rate: float, gaps: list[float], patience_s: float) -> None:
    bucket, now = Bucket(rate), 0.0
    for gap in gaps:
        now += gap
        before = bucket.next_free
        wait_s = bucket.take(now, patience_s)
        if wait_s is None:
            assert bucket.next_free == before
            assert before - now > patience_s
        else:
            assert wait_s <= patience_s


@given(RATES, st.integers(1, 200))
def test_those_who_wait_lose_no_moment(rate: float, calls: int) -> None:
    bucket = Bucket(rate)
    waits = [bucket.take(0.0, float("inf")) for _ in range(calls)]
    assert waits[-1] is not None
    assert abs(waits[-1] - (calls - 1) / rate) < CLOSE * calls
