"""Lines out of a stream: the same lines, however the bytes are cut."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.api.lines import LINE_MAX, LINES_AT_ONCE, TooLong, lines_of


async def stream(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def groups(pieces: list[bytes]) -> list[list[bytes]]:
    return [some async for some in lines_of(stream(pieces))]


@given(st.lists(st.text(alphabet="ab \n", max_size=20).map(str.encode)))
def test_cuts_change_nothing(pieces: list[bytes]) -> None:
    given_out = [line for some in asyncio.run(groups(pieces)) for line in some]
    assert given_out == [line for line in b"".join(pieces).split(b"\n") if line.strip()]


def test_no_group_is_large() -> None:
    found = asyncio.run(groups([b"x\n" * (2 * LINES_AT_ONCE + 1)]))
    assert [len(some) for some in found] == [LINES_AT_ONCE, LINES_AT_ONCE, 1]


@pytest.mark.parametrize("pieces", [[b"a\n" + b"x" * (LINE_MAX + 1) + b"\nb\n"], [b"a\n", b"x" * LINE_MAX, b"x"]])
def test_a_line_that_is_too_long_ends_it_after_those_before(pieces: list[bytes]) -> None:
    found: list[list[bytes]] = []

    async def collect() -> None:
        async for some in lines_of(stream(pieces)):
            found.append(some)

    with pytest.raises(TooLong):
        asyncio.run(collect())
    assert found == [[b"a"]]
