"""Applications that may use the API: rows of `oauth2_clients`, made and disabled by an operator.

A secret is 256 random bits, shown once; only its argon2id hash is stored.
"""

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Literal, get_args
from uuid import UUID

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from worker.errors import BadRequest

GRANT = "client_credentials"

Scope = Literal["verifications:write", "verifications:read", "quotes:write", "jobs:write", "jobs:read"]
SCOPES: dict[Scope, str] = {
    "verifications:write": "Ask for verifications.",
    "verifications:read": "See what verifications have found out.",
    "quotes:write": "Ask for premiums of quotes to be brought up to date.",
    "jobs:write": "Cancel and retry jobs.",
    "jobs:read": "See jobs and why they are where they are.",
}

NAME_MAX = 100
RATE_MAX = 1_000_000
LASTS_MAX = timedelta(days=3650)

_hasher = PasswordHasher()  # argon2id, with the costs of RFC 9106's second recommendation


@dataclass(frozen=True, slots=True)
class Client:
    """A client, as the token endpoint sees it. `is_usable`: active and not expired."""

    id: UUID
    client_id: str
    secret_hash: str | None
    grant_types: frozenset[str]
    scopes: frozenset[str]
    is_usable: bool


def find(connection: Connection, client_id: str) -> Client | None:
    """The client of this public name."""
    row = connection.execute(_FIND, {"client_id": client_id}).one_or_none()
    if row is None:
        return None
    return Client(row.id, row.client_id, row.hash, frozenset(row.grants), frozenset(row.scopes), row.is_usable)


_FIND = text(
    """
    SELECT id, client_id, client_secret_hash AS hash, allowed_grant_types AS grants, allowed_scopes AS scopes,
        is_active AND (expires_at IS NULL OR expires_at > now()) AS is_usable
    FROM oauth2_clients WHERE client_id = :client_id
    """
)


def is_secret(client: Client | None, secret: str) -> bool:
    """Whether the client may come in with it. One that does not exist takes as long to refuse as one that does."""
    known = client.secret_hash if client is not None and client.is_usable else None
    try:
        _hasher.verify(known or _nobodys_hash(), secret)
    except VerificationError:
        return False
    return known is not None


@cache
def _nobodys_hash() -> str:
    return _hasher.hash(secrets.token_urlsafe(32))


@dataclass(frozen=True, slots=True)
class Credentials:
    client_id: str
    client_secret: str


def add(
    connection: Connection,
    name: str,
    *,
    scopes: Collection[str],
    tenants: Collection[str],
    per_minute: int,
    per_hour: int,
    lasts: timedelta | None = None,
) -> Credentials:
    """Make a client that may ask for `scopes` in the name of `tenants`, for ever or as long as it `lasts`.

    Raises `BadRequest` with code bad_name, bad_scope, bad_tenant, bad_limit or bad_duration.
    """
    if not name.strip() or len(name) > NAME_MAX:
        raise BadRequest("bad_name", f"a client's name has 1 to {NAME_MAX} characters")
    if unknown := sorted(set(scopes) - set(get_args(Scope))):
        raise BadRequest("bad_scope", f"there is no scope {unknown[0]}; scopes are {', '.join(SCOPES)}")
    if not scopes:
        raise BadRequest("bad_scope", f"name at least one scope of {', '.join(SCOPES)}")
    if not tenants or not all(tenant.strip() for tenant in tenants):
        raise BadRequest("bad_tenant", "name at least one tenant, such as a producer's code")
    if not (1 <= per_minute <= RATE_MAX and 1 <= per_hour <= RATE_MAX):
        raise BadRequest("bad_limit", f"a client may make 1 to {RATE_MAX} requests a minute and an hour")
    if lasts is not None and lasts > LASTS_MAX:
        raise BadRequest("bad_duration", f"a client lasts {LASTS_MAX.days} days at the most, or for ever")
    made = Credentials(f"client_{secrets.token_hex(8)}", secrets.token_urlsafe(32))
    connection.execute(
        _ADD,
        {
            "client_id": made.client_id,
            "hash": _hasher.hash(made.client_secret),
            "name": name.strip(),
            "grants": [GRANT],
            "scopes": sorted(set(scopes)),
            "tenants": sorted(set(tenants)),
            "per_minute": per_minute,
            "per_hour": per_hour,
            "lasts": lasts,
        },
    )
    return made


_ADD = text(
    """
    INSERT INTO oauth2_clients (
        client_id, client_secret_hash, client_name, allowed_grant_types, allowed_scopes, tenants,
        rate_limit_per_minute, rate_limit_per_hour, expires_at
    ) VALUES (
        :client_id, :hash, :name, :grants, :scopes, :tenants, :per_minute, :per_hour,
        now() + CAST(:lasts AS interval)
    )
    """
).bindparams(*(bindparam(name, type_=JSONB) for name in ("grants", "scopes", "tenants")))


@dataclass(frozen=True, slots=True)
class ClientLine:
    """One client in a list."""

    client_id: str
    name: str
    scopes: list[Any]
    tenants: list[Any]
    rate_limit_per_minute: int
    rate_limit_per_hour: int
    is_active: bool
    expires_at: datetime | None
    created_at: datetime


def listed(connection: Connection) -> list[ClientLine]:
    """Every client that can use this API, the oldest first."""
    return [ClientLine(*row) for row in connection.execute(_LIST, {"grant": GRANT})]


_LIST = text(
    """
    SELECT client_id, client_name, allowed_scopes, tenants, rate_limit_per_minute, rate_limit_per_hour, is_active,
        expires_at, created_at
    FROM oauth2_clients WHERE allowed_grant_types ? :grant ORDER BY created_at, client_id
    """
)


def disable(connection: Connection, client_id: str) -> int:
    """Let the client ask for nothing any more; gives the number of tokens that are worth nothing now.

    Raises `BadRequest` with code unknown_client.
    """
    row_id = connection.execute(_DISABLE, {"client_id": client_id}).scalar_one_or_none()
    if row_id is None:
        raise BadRequest("unknown_client", f"there is no client {client_id}; see `worker clients list`")
    return connection.execute(_REVOKE, {"id": row_id}).rowcount


_DISABLE = text("UPDATE oauth2_clients SET is_active = false WHERE client_id = :client_id RETURNING id")

_REVOKE = text(
    """
    WITH revoked AS (
        UPDATE oauth2_access_tokens SET revoked_at = now()
        WHERE client_id = :id AND revoked_at IS NULL AND expires_at > now() RETURNING client_id, token_hash
    )
    INSERT INTO oauth2_token_logs (client_id, token_type, token_hash, action, reason)
    SELECT client_id, 'access_token', token_hash, 'revoked', 'client_disabled' FROM revoked
    """
)
