"""Who asks, and whether they may: the bearer token of a request (RFC 6750), its scopes, its client's share.

A route says which scope it needs by taking `Security(authenticated, scopes=[...])`. Whose rows a caller may see is
decided where rows are read, by `caller.tenants`.
"""

from ipaddress import ip_address
from typing import Annotated

from fastapi import HTTPException, Request
from fastapi.openapi.models import OAuthFlowClientCredentials, OAuthFlows
from fastapi.params import Depends
from fastapi.security import OAuth2, SecurityScopes

from worker.api import limits, tokens
from worker.api.clients import SCOPES
from worker.api.tokens import Caller, Origin, Refused
from worker.database import Database

_scheme = OAuth2(
    flows=OAuthFlows(
        clientCredentials=OAuthFlowClientCredentials(
            tokenUrl="/oauth2/token", scopes={str(name): what for name, what in SCOPES.items()}
        ),
    ),
    auto_error=False,
)


def database_of(request: Request) -> Database:
    found: Database = request.state.database
    return found


def origin_of(request: Request) -> Origin:
    """The peer's address, and what it says it is, cut to a sensible length."""
    try:
        address = str(ip_address(request.client.host)) if request.client else None
    except ValueError:  # a Unix socket has none
        address = None
    return Origin(address, request.headers.get("user-agent", "")[:200] or None)


def authenticated(
    request: Request, needed: SecurityScopes, authorization: Annotated[str | None, Depends(_scheme)]
) -> Caller:
    """The caller of a request. Answers 401 without a good token, 403 without the scope, 429 beyond the limits."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise _challenge(401, "an access token is needed, see POST /oauth2/token")
    origin, scope, token = origin_of(request), needed.scope_str, token.strip()
    with database_of(request).single_statements() as connection:
        found = tokens.admit(connection, token, origin)
        if isinstance(found, Refused):
            raise _challenge(401, "the access token is unknown, expired or revoked", "invalid_token")
        if found.wait_s:
            raise limits.too_many(found.wait_s)
        if not found.caller.scopes >= set(needed.scopes):
            tokens.refuse(connection, found.caller.id, "insufficient_scope", origin, token)
            raise _challenge(403, f"the access token lacks the scope {scope}", "insufficient_scope", scope)
    return found.caller


def _challenge(status: int, detail: str, error: str | None = None, scope: str | None = None) -> HTTPException:
    said = [f'{name}="{value}"' for name, value in (("error", error), ("scope", scope)) if value]
    return HTTPException(status, detail, {"WWW-Authenticate": " ".join(["Bearer", ", ".join(said)]).strip()})
