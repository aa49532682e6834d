"""The tally of a run adds up, and batches grow and shrink towards what nobody notices."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.maintenance.stages import GOAL_S, Batch, Tally, next_limit, taken_up


@given(st.integers(1, 50_000), st.integers(1, 50_000), st.floats(0, 100))
def test_a_batch_is_never_larger_than_allowed_nor_empty(limit: int, most: int, took_s: float) -> None:
    assert 1 <= next_limit(min(limit, most), most, took_s) <= most


@pytest.mark.parametrize("rows_a_second", [100, 1_000, 20_000, 400_000])
def test_batches_settle_near_the_goal(rows_a_second: int) -> None:
    limit = 5_000
    for _ in range(20):
        limit = next_limit(limit, 5_000, limit / rows_a_second)
    assert limit / rows_a_second <= max(GOAL_S * 1.01, 50 / rows_a_second)
    assert limit == 5_000 or limit / rows_a_second >= GOAL_S * 0.9


def test_one_slow_batch_halves_the_next_at_most() -> None:
    assert next_limit(5_000, 5_000, 60.0) == 2_500
    assert next_limit(100, 5_000, 0.0) == 200


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 100), st.integers(0, 100)), max_size=20))
def test_counts_add_up_over_stages_and_attempts(batches: list[tuple[str, int, int]]) -> None:
    half = len(batches) // 2
    first = Tally(total=10)
    for stage, rows, removed in batches[:half]:
        first.add(stage, Batch(rows, {"removed": removed}))
    second = taken_up({"done": first.done, "counts": first.counts}, is_dry_run=False)
    for stage, rows, removed in batches[half:]:
        second.add(stage, Batch(rows, {"removed": removed}))
    assert second.done == sum(rows for _, rows, _ in batches)
    assert sum(counts["removed"] for counts in second.counts.values()) == sum(removed for *_, removed in batches)
    assert second.total >= second.done


def test_a_dry_run_that_is_taken_up_begins_anew() -> None:
    assert taken_up({"done": 5, "counts": {"a": {"removed": 5}}}, is_dry_run=True) == Tally(is_dry_run=True)
