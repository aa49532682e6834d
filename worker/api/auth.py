"""Who asks, and whether they may: the bearer token of a request (RFC 6750), its scopes, its client's share.

A route says which scope it needs by taking `Security(authenticated, scopes=[...])`. Whose rows a caller may see is
decided where rows are read, by `caller.tenants`.
"""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated, Any

from fastapi import HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.models import OAuthFlowClientCredentials, OAuthFlows
from fastapi.params import Depends
from fastapi.routing import APIRoute
from fastapi.security import OAuth2, SecurityScopes
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from worker.api import limits, tokens
from worker.api.clients import SCOPES
from worker.api.tokens import Admission, Caller, Origin, Refused
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


@dataclass(frozen=True, slots=True)
class Shown:
    """A token that a request shows, not looked at yet, and the scopes that its route needs."""

    token: str
    scopes: SecurityScopes
    origin: Origin


def admit_all(connection: Connection, shown: Sequence[Shown]) -> list[Caller | HTTPException]:
    """The caller of each request, or what it is told: 401 without a good token, 403 without the scope, 429 beyond the
    limits.

    `connection` need not be in a transaction, see `tokens.admit_all`.
    """
    found = tokens.admit_all(connection, [(one.token, one.origin) for one in shown])
    return [_caller(connection, one, admission) for one, admission in zip(shown, found, strict=True)]


def _caller(connection: Connection, shown: Shown, found: Admission | Refused) -> Caller | HTTPException:
    if isinstance(found, Refused):
        return _challenge(401, "the access token is unknown, expired or revoked", "invalid_token")
    if found.wait_s:
        return limits.too_many(found.wait_s)
    if not found.caller.scopes >= set(shown.scopes.scopes):
        tokens.refuse(connection, found.caller.id, "insufficient_scope", shown.origin, shown.token)
        scope = shown.scopes.scope_str
        return _challenge(403, f"the access token lacks the scope {scope}", "insufficient_scope", scope)
    return found.caller


async def shown(
    request: Request, needed: SecurityScopes, authorization: Annotated[str | None, Depends(_scheme)]
) -> Shown:
    """The token of a request; answers 401 where there is none."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise _challenge(401, "an access token is needed, see POST /oauth2/token")
    found = Shown(token.strip(), needed, origin_of(request))
    request.state.shown = found
    return found


def authenticated(request: Request, token: Annotated[Shown, Depends(shown)]) -> Caller:
    """The caller of a request, before anything else of it is looked at."""
    with database_of(request).single_statements() as connection:
        (caller,) = admit_all(connection, [token])
    if isinstance(caller, HTTPException):
        raise caller
    return caller


class AdmitsItself(APIRoute):
    """A route that admits the token shown together with what it asks for. What has a wrong form it never sees: that is
    admitted here, so that it counts, and nobody is told about forms who may not ask at all.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def admitting(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError:
                if (token := getattr(request.state, "shown", None)) is not None:  # a body that is no JSON comes first
                    await run_in_threadpool(authenticated, request, token)
                raise

        return admitting


def _challenge(status: int, detail: str, error: str | None = None, scope: str | None = None) -> HTTPException:
    said = [f'{name}="{value}"' for name, value in (("error", error), ("scope", scope)) if value]
    return HTTPException(status, detail, {"WWW-Authenticate": " ".join(["Bearer", ", ".join(said)]).strip()})
