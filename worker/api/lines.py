"""Lines out of a stream of bytes, a bounded number at a time. Nothing is read ahead of them."""

from collections.abc import AsyncIterable, AsyncIterator
from itertools import takewhile

LINE_MAX = 64 * 1024
LINES_AT_ONCE = 200


class TooLong(Exception):
    """A line has no end within `LINE_MAX` bytes."""


async def lines_of(stream: AsyncIterable[bytes]) -> AsyncIterator[list[bytes]]:
    """The lines of each piece that arrives, in order, at most `LINES_AT_ONCE` together; empty ones are left out.

    Raises `TooLong` once all lines before it were given out.
    """
    rest = b""
    async for piece in stream:
        *whole, rest = (rest + piece).split(b"\n")
        fit = list(takewhile(lambda line: len(line) <= LINE_MAX, whole))
        for some in _groups(fit):
            yield some
        if len(fit) < len(whole) or len(rest) > LINE_MAX:
            raise TooLong
    for some in _groups([rest]):
        yield some


def _groups(lines: list[bytes]) -> list[list[bytes]]:
    said = [line for line in lines if line.strip()]
    return [said[start : start + LINES_AT_ONCE] for start in range(0, len(said), LINES_AT_ONCE)]
