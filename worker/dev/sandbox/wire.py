"""A line that misbehaves: silence, trickles, resets, lies about the length, floods.

Each behaviour gets the client's connection and the answer it would have had, and returns what the journal says
the client was sent. The connection is closed afterwards.
"""

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from functools import cache
from http import HTTPStatus
from typing import Literal, Protocol

from .message import JSON, Reply

Sent = int | Literal["never", "reset"]
DRIP_S = 0.4  # between two bytes: no read timeout of a second or more ever fires
HUGE_BYTES = 50_000_000
BOMB_BYTES = 1 << 30
CHUNK_BYTES = 1 << 20
LIE_BYTES = 512  # announced, never sent
FOREVER_S = 24 * 3600


class Wire(Protocol):
    """What a behaviour may do with the client's connection."""

    def write(self, data: bytes) -> None: ...

    async def drain(self) -> None:
        """Wait until the client has taken most of what was written, or is gone."""

    async def gone_within(self, seconds: float) -> bool:
        """Wait; true as soon as the client has hung up."""

    def reset(self) -> None:
        """Tear the connection down with a TCP RST."""


async def timeout(wire: Wire, _reply: Reply) -> Sent:
    await wire.gone_within(FOREVER_S)
    return "never"


async def drip_body(wire: Wire, reply: Reply) -> Sent:
    wire.write(head(reply, len(reply.body)))
    return await _drip(wire, reply.body, reply.status)


async def drip_headers(wire: Wire, reply: Reply) -> Sent:
    return await _drip(wire, head(reply, len(reply.body)) + reply.body, reply.status)


async def _drip(wire: Wire, data: bytes, status: int) -> Sent:
    for byte in data:
        wire.write(bytes((byte,)))
        if await wire.gone_within(DRIP_S):
            return "never"
    return status


async def connect_reset(wire: Wire, _reply: Reply) -> Sent:
    """Before the first byte of an answer: which persona is meant is known only once the request was read."""
    wire.reset()
    return "reset"


async def reset_mid_body(wire: Wire, reply: Reply) -> Sent:
    wire.write(head(reply, len(reply.body)) + reply.body[: len(reply.body) // 2])
    # A reset discards what has not left yet.
    if await wire.gone_within(0.05):
        return "never"
    wire.reset()
    return "reset"


async def truncated_body(wire: Wire, reply: Reply) -> Sent:
    wire.write(head(reply, len(reply.body) + LIE_BYTES) + reply.body)
    return reply.status


async def huge(wire: Wire, reply: Reply) -> Sent:
    """A well-formed answer with 50 MB of blanks in front of it."""
    wire.write(head(reply, HUGE_BYTES + len(reply.body)))
    blanks = b" " * 500_000
    for _ in range(HUGE_BYTES // len(blanks)):
        wire.write(blanks)
        await wire.drain()
        if await wire.gone_within(0):
            return "never"
    wire.write(reply.body)
    await wire.drain()
    return reply.status


async def gzip_bomb(wire: Wire, _reply: Reply) -> Sent:
    bomb = await asyncio.to_thread(bomb_bytes)
    wire.write(head(Reply(200, b"", (JSON, ("Content-Encoding", "gzip"))), len(bomb)) + bomb)
    await wire.drain()
    return "never" if await wire.gone_within(0) else 200


@cache
def bomb_bytes() -> bytes:
    """One megabyte of gzip that inflates to a gigabyte of blanks.

    The same megabyte, compressed up to a full flush, repeats within one deflate stream: compressing the whole
    would take seconds, and several gzip members would defuse it, as many clients stop after the first.
    """
    blanks = b" " * CHUNK_BYTES
    deflate = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    block = deflate.compress(blanks) + deflate.flush(zlib.Z_FULL_FLUSH)
    repeats, checksum = BOMB_BYTES // CHUNK_BYTES, 0
    for _ in range(repeats):
        checksum = zlib.crc32(blanks, checksum)
    trailer = checksum.to_bytes(4, "little") + (BOMB_BYTES % (1 << 32)).to_bytes(4, "little")
    gzip_header = b"\x1f\x8b\x08" + bytes(6) + b"\xff"
    return gzip_header + block * repeats + deflate.flush(zlib.Z_FINISH) + trailer


def head(reply: Reply, content_length: int) -> bytes:
    """Status line and headers as they stand on the wire."""
    framing = (("Date", formatdate(usegmt=True)), ("Content-Length", str(content_length)))
    lines = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in (*reply.headers, *framing)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


WIRE: dict[str, Callable[[Wire, Reply], Awaitable[Sent]]] = {
    "timeout": timeout,
    "drip_body": drip_body,
    "drip_headers": drip_headers,
    "connect_reset": connect_reset,
    "reset_mid_body": reset_mid_body,
    "truncated_body": truncated_body,
    "huge": huge,
    "gzip_bomb": gzip_bomb,
}
