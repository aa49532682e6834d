"""A mark in Redis that says which database a system keeps its rows in, so that two systems on one Redis are noticed.

They would take each other's hints and share breakers and learnt rates. Beats leave the mark, and it is over by itself
soon after the last one has gone: a system that moved away raises no alarm.
"""

import time
from contextlib import suppress
from typing import Any

from psycopg.errors import InsufficientPrivilege
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from worker.database import Database

KEY = "worker:systems"
EVERY_S = 60.0
LASTS_S = 180.0
_KEPT_S = 3600


def identity(connection: Connection) -> str | None:
    """Of the database: the same after a failover to a standby, another one for a copy that was restored elsewhere.

    None where a hoster keeps the function for it to itself.
    """
    try:
        with connection.begin_nested():
            found: str = connection.execute(_IDENTITY).scalar_one()
    except ProgrammingError as error:
        if isinstance(error.orig, InsufficientPrivilege):
            return None
        raise
    return found


_IDENTITY = text(
    """
    SELECT control.system_identifier || '/' || pg_database.oid
    FROM pg_control_system() AS control CROSS JOIN pg_database WHERE datname = current_database()
    """
)


class SystemMark:
    """The mark of this process's system, renewed by whoever calls `renew` often enough."""

    def __init__(self, redis_url: str) -> None:
        self._redis: Any = Redis.from_url(redis_url, socket_timeout=2, socket_connect_timeout=2)
        self._system: str | None = None
        self._next_at = 0.0

    def renew(self, database: Database) -> None:
        """Leave the mark if it is time. Nothing depends on it, so a Redis that is away is left alone until the next."""
        if time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + EVERY_S
        if self._system is None:
            with database.transaction() as connection:
                self._system = identity(connection)
        if self._system is not None:
            with suppress(RedisError, OSError):
                leave(self._redis, self._system)

    def close(self) -> None:
        self._redis.close()


def leave(client: Any, system: str) -> None:
    """Say that this system uses this Redis. By Redis' clock, which all who read the mark share."""
    now = client.time()[0]
    with client.pipeline() as pipeline:
        pipeline.zremrangebyscore(KEY, "-inf", now - LASTS_S)
        pipeline.zadd(KEY, {system: now})
        pipeline.expire(KEY, _KEPT_S)
        pipeline.execute()


def read(client: Any) -> frozenset[str]:
    """Every system that was here a moment ago."""
    now = client.time()[0]
    return frozenset(name.decode() for name in client.zrangebyscore(KEY, now - LASTS_S, "+inf"))
