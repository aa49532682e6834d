"""Answers kept under their Idempotency-Key for 24 hours: the second call with the key gets the first one's answer.

An answer of 401 or 429 is not kept: it says nothing about the question asked. A 500 is: whoever was answered asks
again with a new key, whoever got no answer with the same one. Calls that end on a misbehaving line are not kept.
"""

from collections import OrderedDict
from hashlib import blake2b
from typing import NamedTuple

from .message import Refusal, Reply, Request

LIFE_S = 24 * 3600
MEMORY_BYTES = 128 << 20  # the oldest answers go first when the kept ones need more
_OVERHEAD_BYTES = 1000  # of an entry besides its body, roughly
CONFLICT = Refusal(409, "IDEMPOTENCY_CONFLICT", "this key was used for another request", "Idempotency-Key")


class Kept(NamedTuple):
    fingerprint: bytes
    kept_at: float
    scenario: str | None
    reply: Reply


class IdempotencyKeys:
    def __init__(self) -> None:
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._bytes = 0

    def find(self, request: Request, now: float) -> Kept | Refusal | None:
        """The kept answer, a conflict if the key belongs to another request, or nothing."""
        kept = self._kept.get(request.header("idempotency-key"))
        if kept is None or now - kept.kept_at >= LIFE_S:
            return None
        return kept if kept.fingerprint == _fingerprint(request) else CONFLICT

    def keep(self, request: Request, reply: Reply, scenario: str | None, now: float) -> None:
        key = request.header("idempotency-key")
        if not key or reply.status in (401, 429):
            return
        self._forget(key)
        # A copy, as orjson hands out the whole buffer it wrote into: 8 KiB for an answer of one.
        compact = Reply(reply.status, bytes(memoryview(reply.body)), reply.headers)
        self._kept[key] = Kept(_fingerprint(request), now, scenario, compact)
        self._bytes += len(reply.body) + _OVERHEAD_BYTES
        while self._bytes > MEMORY_BYTES:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: str) -> None:
        if kept := self._kept.pop(key, None):
            self._bytes -= len(kept.reply.body) + _OVERHEAD_BYTES


def _fingerprint(request: Request) -> bytes:
    return blake2b(request.path.encode() + b"\n" + request.body, digest_size=16).digest()
