"""Access tokens, fetched once for all tasks and all processes that need the same one.

Redis holds them encrypted; each process keeps a copy until it ends or is refused. Without Redis every process fetches
its own: nothing fails. A login that the provider refused is remembered too, because repeating it locks accounts.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeGuard

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tasks.verification.classify import Event, Meaning, Status, classify
from tasks.verification.token import Token
from worker.crypto import Keyring, Place, Undecipherable
from worker.values import value

LOCK_MS: Final = 15_000
POLL_S: Final = 0.05
REFUSAL_S: Final = 120
"""A refused login is not tried again for so long, unless the configuration is changed meanwhile."""

_DIGEST_LENGTH = 64
_REFUSED = b"refused:"

# Only if it is still the one: ten tasks that were refused with one token must not drop its successor.
_DELETE_IF_BEGINS = "if string.sub(redis.call('GET', KEYS[1]) or '', 1, #ARGV[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"  # noqa: E501 - one statement

Fetched = Token | Event
Fetch = Callable[[], Awaitable[Fetched]]


@value(repr=False)
class _Kept:
    fetched: Fetched
    until: float
    """By `time.monotonic`."""


class TokenStore:
    """One object in each event loop. `redis` may be unreachable at any time."""

    def __init__(self, redis: Redis, keyring: Keyring) -> None:
        self._redis = redis
        self._keyring = keyring
        self._kept: dict[str, _Kept] = {}
        self._flights: dict[str, asyncio.Task[Fetched]] = {}

    async def get(self, key: str, fetch: Fetch) -> Fetched:
        """The token kept under `key`, or what `fetch` brings: an event if that failed.

        However many ask at once, one flight serves them all, failure included. Whoever is cancelled leaves it flying.
        """
        kept = self._kept.get(key)
        if kept is not None and kept.until > time.monotonic():
            return kept.fetched
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.create_task(self._fly(key, fetch))
            flight.add_done_callback(lambda _: self._flights.pop(key, None))
        return await asyncio.shield(flight)

    async def drop(self, key: str, token: Token) -> None:
        """Forget a token that was refused, here and in Redis, unless another one has taken its place."""
        kept = self._kept.get(key)
        if kept is not None and isinstance(kept.fetched, Token) and kept.fetched.value == token.value:
            del self._kept[key]
        await self._delete_if_begins(key, token.digest)

    async def close(self) -> None:
        """End the flights that nobody waits for any more."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    async def _fly(self, key: str, fetch: Fetch) -> Fetched:
        lock, mine = f"{key}:lock", secrets.token_hex(16)
        try:
            while True:
                if kept := await self._look_up(key):
                    return kept
                if await self._redis.set(lock, mine, nx=True, px=LOCK_MS):
                    break
                await asyncio.sleep(POLL_S)
        except (RedisError, OSError):
            return await self._fetch(key, lock, mine, fetch)
        try:
            # Between the look and the lock another process may have come and gone.
            kept = await self._look_up(key)
        except (RedisError, OSError):
            kept = None
        if kept is None:
            return await self._fetch(key, lock, mine, fetch)
        await self._delete_if_begins(lock, mine)
        return kept

    async def _fetch(self, key: str, lock: str, mine: str, fetch: Fetch) -> Fetched:
        """Fetch and share. The lock is given back even if Redis failed to say that we have it: it may have been set."""
        try:
            fetched = await fetch()
            await self._share(key, fetched)
        finally:
            await self._delete_if_begins(lock, mine)
        return self._keep(key, fetched)

    async def _look_up(self, key: str) -> Fetched | None:
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.get(key)
            pipeline.pttl(key)
            value, ttl_ms = await pipeline.execute()
        if value is None or ttl_ms <= 0:
            return None
        if value.startswith(_REFUSED):
            refusal = Status(int(value.removeprefix(_REFUSED)), endpoint="token")
            return self._keep(key, refusal, ttl_ms / 1000)
        try:
            token = self._keyring.decrypt(value[_DIGEST_LENGTH:].decode(), _place(key))
        except Undecipherable:
            return None  # sealed with a key this process hasn't got; ours replaces it
        return self._keep(key, Token(token, ttl_ms / 1000))

    async def _share(self, key: str, fetched: Fetched) -> None:
        if isinstance(fetched, Token):
            value = fetched.digest + self._keyring.encrypt(fetched.value, _place(key))
        elif _is_refusal(fetched):
            value = f"{_REFUSED.decode()}{fetched.code}"
        else:
            return
        ttl_s = fetched.ttl_s if isinstance(fetched, Token) else REFUSAL_S
        try:
            await self._redis.set(key, value, px=int(ttl_s * 1000))
        except (RedisError, OSError):
            return  # this process has it; the others fetch their own

    def _keep(self, key: str, fetched: Fetched, ttl_s: float = REFUSAL_S) -> Fetched:
        if isinstance(fetched, Token):
            ttl_s = fetched.ttl_s
        elif not _is_refusal(fetched):
            return fetched
        now = time.monotonic()
        self._kept = {k: kept for k, kept in self._kept.items() if kept.until > now}
        self._kept[key] = _Kept(fetched, now + ttl_s)
        return fetched

    async def _delete_if_begins(self, key: str, beginning: str) -> None:
        try:
            await self._redis.eval(_DELETE_IF_BEGINS, 1, key, beginning)
        except (RedisError, OSError):
            return  # it ends by itself


def _is_refusal(fetched: Event | Token) -> TypeGuard[Status]:
    return isinstance(fetched, Status) and classify(fetched).meaning is Meaning.PERMANENT


def _place(key: str) -> Place:
    return Place("redis", "token", key)
