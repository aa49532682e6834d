"""Access tokens: 256 random bits, known by their SHA-256 only, kept in PostgreSQL because Redis may be emptied.

What happens to a token is in `oauth2_token_logs`: it is issued, used for the first time, expires or is revoked. A
refusal is logged as `introspected`, for the log has no word of its own for it, with the flag `refused` and the reason.
"""

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from uuid import UUID

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from worker.api import limits

LIFETIME = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request came from, as the log of tokens keeps it."""

    ip_address: str | None
    user_agent: str | None


@dataclass(frozen=True, slots=True)
class Caller:
    """A client that showed a good token: its key, its public name, what it may do, and for whom."""

    id: UUID
    client_id: str
    scopes: frozenset[str]
    tenants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """A token that is worth nothing; `reason` is one word for the log."""

    reason: str


def issue(connection: Connection, client: UUID, scopes: Collection[str], origin: Origin) -> str:
    """A new token. Those of this client that expired more than a day ago leave, each with an event of its own."""
    token = secrets.token_urlsafe(32)
    connection.execute(_FORGET, {"client": client})
    connection.execute(
        _ISSUE,
        {"hash": _digest(token), "client": client, "scopes": sorted(scopes), "lifetime": LIFETIME, **_told(origin)},
    )
    return token


_FORGET = text(
    """
    WITH gone AS (
        DELETE FROM oauth2_access_tokens WHERE client_id = :client AND expires_at < now() - interval '1 day'
        RETURNING client_id, token_hash, revoked_at
    )
    INSERT INTO oauth2_token_logs (client_id, token_type, token_hash, action)
    SELECT client_id, 'access_token', token_hash, 'expired' FROM gone WHERE revoked_at IS NULL ON CONFLICT DO NOTHING
    """
)

_ISSUE = text(
    """
    WITH issued AS (
        INSERT INTO oauth2_access_tokens (token_hash, client_id, scopes, expires_at)
        VALUES (:hash, :client, :scopes, now() + :lifetime) RETURNING token_hash, client_id
    )
    INSERT INTO oauth2_token_logs (client_id, token_type, token_hash, action, ip_address, user_agent)
    SELECT client_id, 'access_token', token_hash, 'issued', CAST(:ip AS inet), :user_agent FROM issued
    """
).bindparams(bindparam("scopes", type_=JSONB))


@dataclass(frozen=True, slots=True)
class Admission:
    """Who asks, and for how many seconds it must wait first, because it has asked too often; 0 is not at all."""

    caller: Caller
    wait_s: int


def admit(connection: Connection, token: str, origin: Origin) -> Admission | Refused:
    """Whose token it is, counted as a request of its client. A right taken from the client since is not in `scopes`.

    One statement, and one that writes its few log rows; so `connection` need not be in a transaction.
    """
    found = connection.execute(_ADMIT, {"hash": _digest(token)}).one_or_none()
    if found is None:
        return Refused("unknown_token")
    if found.refusal is not None:
        refuse(connection, found.id, found.refusal, origin, token)
        return Refused(found.refusal)
    if found.is_first:
        connection.execute(_FIRST_USE, {"hash": _digest(token), **_told(origin)})
    caller = Caller(found.id, found.client_id, frozenset(found.scopes) & frozenset(found.allowed), tuple(found.tenants))
    return Admission(caller, limits.seconds_to_wait(found.wait_s))


# The counter is held for this statement only, and its commit waits for no disk: requests of one client queue for it.
_ADMIT = text(
    f"""
    WITH shown AS MATERIALIZED (
        SELECT client.*, token.scopes, token.used_at IS NULL AS is_first,
            CASE WHEN token.revoked_at IS NOT NULL THEN 'revoked_token'
                 WHEN token.expires_at <= now() THEN 'expired_token'
                 WHEN NOT client.is_active THEN 'disabled_client'
                 WHEN client.expires_at <= now() THEN 'expired_client' END AS refusal
        FROM oauth2_access_tokens AS token JOIN oauth2_clients AS client ON client.id = token.client_id
        WHERE token.token_hash = :hash
    ), client AS (
        SELECT id, rate_limit_per_minute, rate_limit_per_hour FROM shown WHERE refusal IS NULL
    ), counted AS ({limits.COUNTED})
    SELECT id, client_id, tenants, allowed_scopes AS allowed, scopes, is_first, refusal, {limits.WAIT_S} AS wait_s,
        set_config('synchronous_commit', 'off', true)
    FROM shown
    """  # noqa: S608 - constants of ours
)

_FIRST_USE = text(
    """
    WITH used AS (
        UPDATE oauth2_access_tokens SET used_at = now() WHERE token_hash = :hash AND used_at IS NULL
        RETURNING client_id, token_hash
    )
    INSERT INTO oauth2_token_logs (client_id, token_type, token_hash, action, ip_address, user_agent)
    SELECT client_id, 'access_token', token_hash, 'used', CAST(:ip AS inet), :user_agent FROM used
    """
)


def owner(connection: Connection, token: str) -> UUID | None:
    """The client that a token was issued to; None for one that is not known."""
    found: UUID | None = connection.execute(_OWNER, {"hash": _digest(token)}).scalar_one_or_none()
    return found


_OWNER = text("SELECT client_id FROM oauth2_access_tokens WHERE token_hash = :hash")


def revoke(connection: Connection, token: str, origin: Origin) -> None:
    """Make a token worthless. One that is so already stays as it is, and the log too."""
    connection.execute(_REVOKE, {"hash": _digest(token), **_told(origin)})


_REVOKE = text(
    """
    WITH revoked AS (
        UPDATE oauth2_access_tokens SET revoked_at = now()
        WHERE token_hash = :hash AND revoked_at IS NULL AND expires_at > now() RETURNING client_id, token_hash
    )
    INSERT INTO oauth2_token_logs (client_id, token_type, token_hash, action, reason, ip_address, user_agent)
    SELECT client_id, 'access_token', token_hash, 'revoked', 'client_asked', CAST(:ip AS inet), :user_agent FROM revoked
    """
)


def refuse(connection: Connection, client: UUID, reason: str, origin: Origin, token: str | None = None) -> None:
    """Log a refusal; `token` is None where one was asked for. The same one is logged once a minute, not without end."""
    connection.execute(
        _REFUSE,
        {"client": client, "hash": _digest(token) if token else None, "reason": reason, **_told(origin)},
    )


_REFUSE = text(
    """
    INSERT INTO oauth2_token_logs (
        client_id, token_type, token_hash, action, reason, security_flags, ip_address, user_agent
    )
    SELECT :client, 'access_token', CAST(:hash AS text), 'introspected', CAST(:reason AS text), '["refused"]',
        CAST(:ip AS inet), CAST(:user_agent AS text)
    WHERE NOT EXISTS (
        SELECT FROM oauth2_token_logs
        WHERE client_id = :client AND token_hash IS NOT DISTINCT FROM CAST(:hash AS text) AND action = 'introspected'
          AND reason = CAST(:reason AS text) AND created_at > now() - interval '1 minute'
    )
    """
)


def _digest(token: str) -> str:
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _told(origin: Origin) -> dict[str, str | None]:
    return {"ip": origin.ip_address, "user_agent": origin.user_agent}
