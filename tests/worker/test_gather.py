"""Batches: each item gets its own result, an error stays with its batch, and load makes batches larger, not more."""

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.gather import Gatherer

QUIET = 0.001


def play(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, timeout=10))


class Works:
    """Doubles numbers, and remembers each call. With a gate, calls wait there."""

    def __init__(self, gate: asyncio.Event | None = None) -> None:
        self.batches: list[list[int]] = []
        self.begun = asyncio.Event()
        self.at_once = self.most_at_once = 0
        self._gate = gate

    async def __call__(self, items: list[int]) -> list[int]:
        self.batches.append(items)
        self.begun.set()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await (self._gate.wait() if self._gate is not None else asyncio.sleep(0))
            if any(item < 0 for item in items):
                raise ValueError(f"a batch of {len(items)}")
            return [item * 2 for item in items]
        finally:
            self.at_once -= 1


@settings(max_examples=60, deadline=None)
@given(
    items=st.lists(st.integers(0, 1000), max_size=60),
    pauses=st.sets(st.integers(0, 60)),
    at_most=st.integers(1, 12),
    at_once=st.integers(1, 3),
)
def test_each_item_gets_its_own_result_in_full_order(
    items: list[int], pauses: set[int], at_most: int, at_once: int
) -> None:
    async def scene() -> None:
        work = Works()
        gatherer = Gatherer(work, linger_s=0, at_most=at_most, at_once=at_once)
        calls = []
        for turn, item in enumerate(items):
            calls.append(asyncio.create_task(gatherer.submit(item)))
            if turn in pauses:
                await asyncio.sleep(0)
        assert await asyncio.gather(*calls) == [item * 2 for item in items]
        assert [item for batch in work.batches for item in batch] == items
        assert all(1 <= len(batch) <= at_most for batch in work.batches)
        assert work.most_at_once <= at_once

    play(scene())


def test_what_comes_together_is_done_together() -> None:
    async def scene() -> None:
        work = Works()
        gatherer = Gatherer(work, linger_s=QUIET, at_most=10, at_once=1)
        assert await asyncio.gather(*(gatherer.submit(n) for n in range(10))) == [n * 2 for n in range(10)]
        assert work.batches == [list(range(10))]

    play(scene())


def test_a_lone_item_is_done_alone_and_so_is_the_next() -> None:
    async def scene() -> None:
        work = Works()
        gatherer = Gatherer(work, linger_s=QUIET, at_most=10, at_once=1)
        assert [await gatherer.submit(1), await gatherer.submit(2)] == [2, 4]
        assert work.batches == [[1], [2]]

    play(scene())


def test_a_full_batch_does_not_linger() -> None:
    async def scene() -> None:
        gatherer = Gatherer(Works(), linger_s=3600, at_most=3, at_once=1)
        assert await asyncio.gather(*(gatherer.submit(n) for n in range(3))) == [0, 2, 4]

    play(scene())


def test_how_long_the_first_waits_for_others_is_asked_for_each_batch() -> None:
    async def scene() -> None:
        lingers = iter([QUIET, QUIET])
        gatherer = Gatherer(Works(), linger_s=lambda: next(lingers), at_most=3, at_once=1)
        assert [await gatherer.submit(1), await gatherer.submit(2)] == [2, 4]
        assert next(lingers, None) is None

    play(scene())


async def submit_one_by_one(gatherer: Gatherer[int, int], count: int) -> list[asyncio.Task[int]]:
    """Each begun as far as it comes before the next."""
    calls = []
    for n in range(count):
        calls.append(asyncio.create_task(gatherer.submit(n)))
        for _ in range(5):
            await asyncio.sleep(0)
    return calls


def test_while_all_calls_are_busy_the_next_batch_grows() -> None:
    async def scene() -> None:
        gate = asyncio.Event()
        work = Works(gate)
        gatherer = Gatherer(work, linger_s=0, at_most=50, at_once=2)
        calls = await submit_one_by_one(gatherer, 40)
        assert work.batches == [[0], [1]]
        gate.set()
        await asyncio.gather(*calls)
        assert work.batches == [[0], [1], list(range(2, 40))]
        assert work.most_at_once == 2

    play(scene())


def test_while_a_call_is_alone_the_next_batch_grows() -> None:
    async def scene() -> None:
        gate = asyncio.Event()
        work = Works(gate)
        gatherer = Gatherer(work, linger_s=0, at_most=50, at_once=2, alone_s=3600)
        calls = await submit_one_by_one(gatherer, 40)
        gate.set()
        await asyncio.gather(*calls)
        assert work.batches == [[0], list(range(1, 40))]
        assert work.most_at_once == 1

    play(scene())


def test_behind_a_call_that_is_held_up_others_begin() -> None:
    async def scene() -> None:
        gate = asyncio.Event()
        held = Works(gate)

        async def work(items: list[int]) -> list[int]:
            return await held(items) if 0 in items else items

        gatherer: Gatherer[int, int] = Gatherer(work, linger_s=0, at_most=50, at_once=2, alone_s=QUIET)
        first = asyncio.create_task(gatherer.submit(0))
        await held.begun.wait()
        assert [await gatherer.submit(n) for n in (1, 2, 3)] == [1, 2, 3]
        assert not first.done()
        gate.set()
        assert await first == 0

    play(scene())


def test_an_error_reaches_exactly_the_callers_of_its_batch() -> None:
    async def scene() -> None:
        gatherer = Gatherer(Works(), linger_s=QUIET, at_most=3, at_once=1)
        results = await asyncio.gather(
            *(gatherer.submit(n) for n in (0, 1, 2, 3, -4, 5, 6, 7, 8)), return_exceptions=True
        )
        assert results[:3] == [0, 2, 4]
        assert [str(error) for error in results[3:6]] == ["a batch of 3"] * 3
        assert results[6:] == [12, 14, 16]
        assert await gatherer.submit(9) == 18, "the place of a call that failed is free again"

    play(scene())


def test_a_submitter_that_was_cancelled_breaks_nobody_else() -> None:
    async def scene() -> None:
        gate = asyncio.Event()
        work = Works(gate)
        gatherer = Gatherer(work, linger_s=QUIET, at_most=3, at_once=1)
        calls = [asyncio.create_task(gatherer.submit(n)) for n in range(6)]
        await work.begun.wait()
        calls[0].cancel()  # its batch is being worked on
        calls[4].cancel()  # its batch still waits
        await asyncio.sleep(0)
        gate.set()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [results[n] for n in (1, 2, 3, 5)] == [2, 4, 6, 10]
        assert calls[0].cancelled()
        assert calls[4].cancelled()
        assert await gatherer.submit(7) == 14

    play(scene())


def test_a_cancelled_submitter_of_a_batch_that_fails_breaks_nobody_else() -> None:
    async def scene() -> None:
        gate = asyncio.Event()
        work = Works(gate)
        gatherer = Gatherer(work, linger_s=QUIET, at_most=2, at_once=1)
        calls = [asyncio.create_task(gatherer.submit(n)) for n in (-1, 2)]
        await work.begun.wait()
        calls[0].cancel()
        gate.set()
        with pytest.raises(ValueError, match="a batch of 2"):
            await calls[1]

    play(scene())


def test_a_missing_result_left_its_caller_waiting_for_ever() -> None:
    async def scene() -> None:
        async def forgetful(items: list[int]) -> list[int]:
            return items[:-1]

        gatherer = Gatherer(forgetful, linger_s=QUIET, at_most=3, at_once=1)
        calls = [asyncio.create_task(gatherer.submit(n)) for n in range(3)]
        done, waiting = await asyncio.wait(calls, timeout=1)
        for call in waiting:
            call.cancel()
        assert len(waiting) == 0
        assert all(isinstance(call.exception(), ValueError) for call in done)

    play(scene())


def test_what_is_done_for_many_is_not_done_in_the_context_of_the_first() -> None:
    whose: ContextVar[str] = ContextVar("whose", default="nobody's")

    async def work(items: list[int]) -> list[str]:
        return [whose.get()] * len(items)

    async def scene() -> None:
        whose.set("the first's")
        gatherer: Gatherer[int, str] = Gatherer(work, linger_s=QUIET, at_most=2, at_once=1)
        assert await gatherer.submit(1) == "nobody's"

    play(scene())
