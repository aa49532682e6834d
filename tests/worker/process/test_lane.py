"""How long jobs gather: alone in a process they hardly wait, among many they share."""

from hypothesis import given
from hypothesis import strategies as st

from worker.process.lane import linger_s


@given(calm_s=st.floats(0, 1), in_hand=st.integers(0, 10_000), more=st.integers(0, 10_000))
def test_jobs_gather_longer_the_more_there_are_within_bounds(calm_s: float, in_hand: int, more: int) -> None:
    assert calm_s <= linger_s(calm_s, in_hand) <= linger_s(calm_s, in_hand + more) <= 8 * calm_s


def test_a_few_jobs_gather_no_longer_than_one_alone() -> None:
    assert linger_s(0.005, 0) == linger_s(0.005, 16) == 0.005


def test_a_full_process_gathers_eight_times_as_long() -> None:
    assert linger_s(0.005, 128) == 0.04
