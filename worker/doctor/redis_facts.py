"""What a Redis says of itself and of who uses it. Reads only, and never the whole keyspace."""

import time
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import NoPermissionError, ResponseError

from worker import system_mark
from worker.broker import QUEUES
from worker.doctor.clock_rules import Clock

PATIENCE_S = 3.0
SAMPLE = 1000
"""Keys that are looked at, at the most."""

_OURS = ("_kombu.", "celeryev", "unacked", "verification:", "worker:", *(f"{queue}\x06" for queue in QUEUES))


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """`info` and `takes_snapshots` are None where the user may not ask. `systems` are the databases whose systems were
    here a moment ago; `foreign` of `sampled` keys are not of this system's kind."""

    info: dict[str, Any] | None
    clock: Clock
    systems: frozenset[str]
    sampled: int
    foreign: int
    has_gossip: bool
    takes_snapshots: bool | None


def gather_redis(url: str) -> RedisFacts:
    """Raises `RedisError` where the server does not answer or refuses the password."""
    client: Any = Redis.from_url(url, socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S)
    with client:
        asked_at = time.time()
        seconds, micros = client.time()
        clock = Clock.of("Redis", asked_at=asked_at, said=seconds + micros / 1e6, heard_at=time.time())
        try:
            info = client.info()
        except NoPermissionError:
            info = None
        keys = _sample(client)
        return RedisFacts(
            info=info,
            clock=clock,
            systems=system_mark.read(client),
            sampled=len(keys),
            foreign=sum(not _is_ours(key) for key in keys),
            has_gossip=any(binding.startswith(b"worker.#") for binding in client.smembers("_kombu.binding.celeryev")),
            takes_snapshots=_takes_snapshots(client),
        )


def _takes_snapshots(client: Any) -> bool | None:
    try:
        return bool(client.config_get("save").get("save"))
    except ResponseError:  # hosters rename CONFIG or forbid it
        return None


def _sample(client: Any) -> set[bytes]:
    keys: set[bytes] = set()
    cursor, looks = 0, 0
    while len(keys) < SAMPLE and looks < SAMPLE:
        cursor, found = client.scan(cursor, count=100)
        keys.update(found)
        looks += 1
        if cursor == 0:
            break
    return keys


def _is_ours(key: bytes) -> bool:
    name = key.decode(errors="replace")
    return name in QUEUES or name.startswith(_OURS) or name.endswith(".reply.celery.pidbox")
