"""The SQL of the tokens job. What happens to OAuth2 tokens is a function of the database, which others may call too."""

from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, text

from worker.audit import Deed, audit_all
from worker.maintenance.order import Order
from worker.maintenance.stages import Batch, Plan


def plan(_connection: Connection, _order: Order) -> Plan:
    return Plan([OAuth2Tokens(), Sessions(), Clients()])


@dataclass(frozen=True, slots=True)
class OAuth2Tokens:
    """Refresh tokens, access tokens and codes: an event when they expire, and later they leave.

    Each batch is one call of `clean_oauth2_tokens`, which takes so many of each and says where the next one begins;
    `cleanup_expired_oauth2_tokens` is a single call of it from the beginning.
    """

    name: str = "oauth2_tokens"
    most: int = 2000

    def size(self, connection: Connection) -> int:
        return int(connection.execute(_EXPIRED_TOKENS).scalar_one())

    def batch(self, connection: Connection, after: Any, limit: int) -> Batch:
        values = {"limit": limit, "after": None if after is None else orjson.dumps(after).decode()}
        done = connection.execute(_CLEAN, values).scalar_one()
        counts = {"expired": done["expired"], "removed": done["removed"]}
        return Batch(sum(counts.values()), counts, done["after"])


_CLEAN = text("SELECT clean_oauth2_tokens(:limit, CAST(:after AS jsonb))")

_EXPIRED_TOKENS = text(
    """
    SELECT (SELECT count(*) FROM oauth2_refresh_tokens WHERE expires_at <= now())
         + (SELECT count(*) FROM oauth2_access_tokens WHERE expires_at <= now())
         + (SELECT count(*) FROM oauth2_authorization_codes WHERE expires_at <= now())
    """
)


@dataclass(frozen=True, slots=True)
class Sessions:
    """Logins whose time is over, closed at that time: a session without `revoked_at` is an open one."""

    name: str = "user_sessions"
    most: int = 5000

    def size(self, connection: Connection) -> int:
        return int(connection.execute(_EXPIRED_SESSIONS).scalar_one())

    def batch(self, connection: Connection, after: Any, limit: int) -> Batch:
        closed = connection.execute(_CLOSE_SESSIONS, {"limit": limit}).rowcount
        return Batch(closed, {"expired": closed}, after="what is left" if closed == limit else None)


_EXPIRED_SESSIONS = text("SELECT count(*) FROM user_sessions WHERE revoked_at IS NULL AND expires_at <= now()")

_CLOSE_SESSIONS = text(
    """
    UPDATE user_sessions SET revoked_at = expires_at WHERE id IN (
        SELECT id FROM user_sessions WHERE revoked_at IS NULL AND expires_at <= now()
        ORDER BY expires_at, id LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    """
)


@dataclass(frozen=True, slots=True)
class Clients:
    """Applications whose time is over: no longer active, which the list of clients then shows."""

    name: str = "oauth2_clients"
    most: int = 500

    def size(self, connection: Connection) -> int:
        return int(connection.execute(_EXPIRED_CLIENTS).scalar_one())

    def batch(self, connection: Connection, after: Any, limit: int) -> Batch:
        ids = connection.execute(_DISABLE_CLIENTS, {"limit": limit}).scalars().all()
        audit_all(connection, [Deed("clients.expired", "oauth2_client", id_) for id_ in ids])
        return Batch(len(ids), {"expired": len(ids)}, after="what is left" if len(ids) == limit else None)


_EXPIRED_CLIENTS = text("SELECT count(*) FROM oauth2_clients WHERE is_active AND expires_at <= now()")

_DISABLE_CLIENTS = text(
    """
    UPDATE oauth2_clients SET is_active = false WHERE id IN (
        SELECT id FROM oauth2_clients WHERE is_active AND expires_at <= now()
        ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED
    ) RETURNING id
    """
)
