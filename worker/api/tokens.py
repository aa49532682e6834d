"""Access tokens: 256 random bits, known by their SHA-256 only, kept in PostgreSQL because Redis may be emptied.

What happens to a token is in `oauth2_token_logs`: it is issued, used for the first time, expires or is revoked. A
refusal is logged as `introspected`, for the log has no word of its own for it, with the flag `refused` and the reason.
"""

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any
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
    return admit_all(connection, [(token, origin)])[0]


def admit_all(connection: Connection, shown: Sequence[tuple[str, Origin]]) -> list[Admission | Refused]:
    """As `admit` for one after the other, in as many statements as for one."""
    known = {row.n: row for row in connection.execute(_ADMIT, {"hashes": [_digest(token) for token, _ in shown]})}
    noted: set[str] = set()
    results: list[Admission | Refused] = []
    for n, (token, origin) in enumerate(shown, 1):
        if (row := known.get(n)) is None:
            results.append(Refused("unknown_token"))
            continue
        if token not in noted:
            noted.add(token)
            _note(connection, row, token, origin)
        results.append(Refused(row.refusal) if row.refusal is not None else _admission(row))
    return results


def _note(connection: Connection, row: Any, token: str, origin: Origin) -> None:
    """Log what there is to log of a token that was shown: a refusal, its first use."""
    if row.refusal is not None:
        refuse(connection, row.id, row.refusal, origin, token)
    elif row.is_first:
        connection.execute(_FIRST_USE, {"hash": _digest(token), **_told(origin)})


def _admission(row: Any) -> Admission:
    scopes = frozenset(row.scopes) & frozenset(row.allowed)
    return Admission(Caller(row.id, row.client_id, scopes, tuple(row.tenants)), limits.seconds_to_wait(row.wait_s))


# The counter is held for this statement only, and its commit waits for no disk: requests of one client queue for it.
_ADMIT = text(
    f"""
    WITH shown AS MATERIALIZED (
        SELECT n, client.*, token.scopes, token.used_at IS NULL AS is_first,
            CASE WHEN token.revoked_at IS NOT NULL THEN 'revoked_token'
                 WHEN token.expires_at <= now() THEN 'expired_token'
                 WHEN NOT client.is_active THEN 'disabled_client'
                 WHEN client.expires_at <= now() THEN 'expired_client' END AS refusal
        FROM unnest(CAST(:hashes AS text[])) WITH ORDINALITY AS asked (token_hash, n)
        JOIN oauth2_access_tokens AS token USING (token_hash)
        JOIN oauth2_clients AS client ON client.id = token.client_id
    ), request AS MATERIALIZED (
        SELECT n, id AS client, rate_limit_per_minute AS per_minute, rate_limit_per_hour AS per_hour,
            count(*) OVER (PARTITION BY id) AS asked, row_number() OVER (PARTITION BY id ORDER BY n) AS turn
        FROM shown WHERE refusal IS NULL
    ), client AS (
        SELECT client AS id, asked FROM request WHERE turn = 1
    ), counted AS ({limits.COUNTED})
    SELECT n, id, client_id, tenants, allowed_scopes AS allowed, scopes, is_first, refusal, {limits.WAIT_S} AS wait_s,
        set_config('synchronous_commit', 'off', true)
    FROM shown LEFT JOIN request USING (n)
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
