"""Places of a process: never more than there are, first come first served, and never fewer than one to who waited."""

import asyncio
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.process.room import Room


async def settled() -> None:
    """Let everybody who can go on do so."""
    for _ in range(10):
        await asyncio.sleep(0)


def admitted(room: Room, jobs: int) -> None:
    assert room.admit(jobs) == jobs


Step = tuple[str, int, bool]
"""What happens, with how many jobs, and whether everybody may go on before the next step."""

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["admit", "admit", "leave", "leave", "promise", "forget"]), st.integers(1, 4), st.booleans()
    ),
    min_size=10,
    max_size=40,
)


async def play(size: int, steps: list[Step]) -> None:
    """Work through hints and ends of jobs in some order, the way an engine does, and look at the books after each."""
    room = Room(size)
    held: list[int] = []
    served: list[int] = []
    takers: list[asyncio.Task[None]] = []

    async def take(turn: int, jobs: int) -> None:
        while jobs:
            taken = await room.take(jobs)
            assert 1 <= taken <= jobs
            served.append(turn)
            held.extend([turn] * taken)
            jobs -= taken

    def step(name: str, jobs: int) -> None:
        match name:
            case "admit":
                count = room.admit(jobs)
                assert 0 <= count <= jobs
                if count:
                    takers.append(asyncio.create_task(take(len(takers), count)))
            case "promise":
                room.promise(jobs)
            case "forget":
                room.forget_promises()
            case "leave" if held:
                leaving = min(jobs, len(held))
                del held[:leaving]
                room.leave(leaving)

    def look() -> None:
        assert len(held) <= size
        assert 4 <= room.lookahead <= max(4, size)
        assert room.wanted <= size + room.lookahead

    for name, jobs, settle in steps:
        step(name, jobs)
        if settle:
            await settled()
            assert set(served) == set(range(len(set(served)))), "first come, first served"
        look()
    while not all(taker.done() for taker in takers):
        await settled()
        look()
        assert held or all(taker.done() for taker in takers), "somebody waits though every place is free"
        step("leave", 1)
    await asyncio.gather(*takers)
    room.leave(len(held))
    room.forget_promises()
    assert room.wanted == size + room.lookahead, "places were lost or made"


@settings(max_examples=300, deadline=None)
@given(size=st.integers(1, 4), steps=STEPS)
def test_in_any_order_of_events_places_are_neither_lost_nor_made(size: int, steps: list[Step]) -> None:
    asyncio.run(asyncio.wait_for(play(size, steps), timeout=10))


def test_who_came_first_is_served_first() -> None:
    async def scene() -> None:
        room = Room(1)
        admitted(room, 5)
        served: list[int] = []

        async def take(turn: int) -> None:
            await room.take(1)
            served.append(turn)

        takers = [asyncio.create_task(take(turn)) for turn in range(5)]
        await settled()
        for _ in range(4):
            room.leave(1)
            await settled()
        await asyncio.gather(*takers)
        assert served == [0, 1, 2, 3, 4]

    asyncio.run(asyncio.wait_for(scene(), timeout=10))


def test_a_newcomer_took_the_place_of_one_who_was_just_called() -> None:
    async def scene() -> None:
        room = Room(1)
        admitted(room, 3)
        await room.take(1)
        waiting = asyncio.create_task(room.take(1))
        await settled()
        newcomer = asyncio.create_task(room.take(1))
        room.leave(1)
        await settled()
        assert (waiting.done(), newcomer.done()) == (True, False)
        assert waiting.result() == 1
        room.leave(1)
        assert await newcomer == 1

    asyncio.run(asyncio.wait_for(scene(), timeout=10))


def test_two_places_that_were_freed_at_once_went_to_one_and_the_other_got_none() -> None:
    async def scene() -> None:
        room = Room(2)
        admitted(room, 6)
        await room.take(2)
        first, second = asyncio.create_task(room.take(2)), asyncio.create_task(room.take(2))
        await settled()
        room.leave(1)
        room.leave(1)
        assert list(await asyncio.gather(first, second)) == [1, 1]

    asyncio.run(asyncio.wait_for(scene(), timeout=10))


def test_a_taker_gets_no_more_than_it_asked_for_and_the_next_gets_the_rest() -> None:
    async def scene() -> None:
        room = Room(5)
        admitted(room, 9)
        assert await room.take(5) == 5
        first, second = asyncio.create_task(room.take(2)), asyncio.create_task(room.take(2))
        await settled()
        room.leave(5)
        assert list(await asyncio.gather(first, second)) == [2, 2]
        assert room.wanted == 1 + room.lookahead

    asyncio.run(asyncio.wait_for(scene(), timeout=10))


@pytest.mark.parametrize("size", [1, 3, 128])
def test_an_idle_process_wants_its_places_and_a_little_more(size: int) -> None:
    room = Room(size)
    assert room.wanted == size + room.lookahead == size + 4


def test_promises_count_until_they_are_kept_or_forgotten() -> None:
    room = Room(10)
    room.promise(8)
    assert room.wanted == 6
    assert room.admit(5) == 5
    assert room.wanted == 6, "what arrives was promised"
    room.forget_promises()
    assert room.wanted == 9
    room.promise(100)
    assert room.wanted < 0
    assert room.admit(3) == 3, "a promise never keeps out what is here"


def test_unclaimed_jobs_beyond_the_lookahead_are_refused() -> None:
    room = Room(10)
    assert room.admit(100) == 18
    assert room.admit(1) == 0
    assert room.wanted == -4


def test_hints_that_another_process_asked_for_were_given_back_though_there_was_next_to_no_wait() -> None:
    room = Room(10)
    assert room.admit(room.wanted) == 14
    assert room.admit(4) == 4
    assert room.admit(1) == 0


def test_a_message_is_worth_its_cost_from_half_the_lookahead_on() -> None:
    room = Room(10)
    assert room.wants_a_message, "an idle process waits for nothing"
    assert room.admit(12) == 12
    assert room.wanted == 2
    assert not room.wants_a_message
    room.leave(1)
    assert room.wants_a_message


@given(size=st.integers(1, 200), hints=st.lists(st.integers(0, 1000), max_size=20))
def test_what_is_admitted_is_never_negative_and_never_too_much(size: int, hints: list[int]) -> None:
    room = Room(size)
    admissions = [room.admit(jobs) for jobs in hints]
    assert all(0 <= count <= jobs for count, jobs in zip(admissions, hints, strict=True))
    assert sum(admissions) == min(sum(hints), size + 2 * room.lookahead)


@pytest.mark.parametrize(
    ("ended", "lookahead"), [(0, 4), (10, 4), (20, 4), (100, 20), (500, 100), (640, 128), (100_000, 128)]
)
def test_the_lookahead_is_a_fifth_of_a_second_of_work_but_no_more_than_the_room(
    monkeypatch: pytest.MonkeyPatch, ended: int, lookahead: int
) -> None:
    """In simulated time: `ended` jobs within one second."""
    now = 0.0
    monkeypatch.setattr("worker.process.room.time", SimpleNamespace(monotonic=lambda: now))
    room = Room(128)
    now = 1.0
    room.leave(ended)
    room.leave(ended, worked=False)
    assert room.lookahead == lookahead
