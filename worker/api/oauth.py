"""POST /oauth2/token: a client's id and secret become an access token (RFC 6749, client credentials).
POST /oauth2/revoke: the token is worthless before its time (RFC 7009).

Authlib reads the credentials, decides and words the errors; this file tells it what is in the database. What it
leaves open is checked before: parameters given twice, two ways of authentication at once, and Basic that is no text.
"""

import asyncio
import logging
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote
from uuid import UUID

from authlib.oauth2 import OAuth2Error  # type: ignore[import-untyped]  # Authlib ships no types
from authlib.oauth2.rfc6749 import (  # type: ignore[import-untyped]  # Authlib ships no types
    AuthorizationServer,
    ClientCredentialsGrant,
    InvalidClientError,
    InvalidRequestError,
    InvalidScopeError,
    OAuth2Request,
)
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload  # type: ignore[import-untyped]  # Authlib ships no types
from authlib.oauth2.rfc7009 import RevocationEndpoint  # type: ignore[import-untyped]  # Authlib ships no types
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from worker.api import clients, limits, problems, tokens
from worker.api.auth import database_of, origin_of
from worker.api.tokens import Origin
from worker.database import Database

PATH = "/oauth2/token"
REVOKE_PATH = "/oauth2/revoke"
_FORM = "application/x-www-form-urlencoded"

HASHES_AT_ONCE = 2
"""A hash takes 64 MiB and tens of milliseconds, and anybody may have us compute one. Who waits holds no thread."""

logging.getLogger("authlib").setLevel(logging.INFO)  # at DEBUG it writes tokens into the log

router = APIRouter(tags=["authentication"])


class Token(BaseModel):
    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int
    """Seconds."""

    scope: str


class Revoked(BaseModel):
    """Nothing is said about what the token was."""


class Refusal(BaseModel):
    """RFC 6749, section 5.2."""

    error: str
    error_description: str | None = None


_FORM_SCHEMA = {
    "type": "object",
    "required": ["grant_type"],
    "properties": {
        "grant_type": {"type": "string", "enum": [clients.GRANT]},
        "scope": {"type": "string", "description": "Separated by spaces; without it, all that the client may have."},
        "client_id": {"type": "string", "description": "Where it is not in the Authorization header."},
        "client_secret": {"type": "string", "format": "password"},
    },
}


_RESPONSES: dict[int | str, dict[str, Any]] = {
    400: {"model": Refusal, "description": "The request can't be granted."},
    401: {"model": Refusal, "description": "The client is unknown, or that is not its secret."},
    413: problems.TOO_LARGE,
    422: problems.NOT_VALID,
    429: problems.TOO_MANY,
    503: problems.AWAY,
}


def _described(form: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "requestBody": {"required": True, "content": {_FORM: {"schema": form}}},
        "security": [{"basic": []}, {}],
    }


@router.post(PATH, response_model=Token, responses=_RESPONSES, openapi_extra=_described(_FORM_SCHEMA))
async def token(request: Request) -> JSONResponse:
    """Exchange a client's id and secret, by HTTP Basic or in the form, for an access token."""
    return await _answer(request, "grant_type", lambda server, asked: server.create_token_response(asked))


_REVOKE_SCHEMA = {
    "type": "object",
    "required": ["token"],
    "properties": {
        "token": {"type": "string"},
        "token_type_hint": {"type": "string", "enum": ["access_token"]},
        "client_id": _FORM_SCHEMA["properties"]["client_id"],  # type: ignore[index]  # a literal of ours
        "client_secret": _FORM_SCHEMA["properties"]["client_secret"],  # type: ignore[index]  # a literal of ours
    },
}


@router.post(REVOKE_PATH, response_model=Revoked, responses=_RESPONSES, openapi_extra=_described(_REVOKE_SCHEMA))
async def revoke(request: Request) -> JSONResponse:
    """Make a token of the client's worthless at once. One that is unknown or worthless already is answered the same."""
    return await _answer(
        request, "token", lambda server, asked: server.create_endpoint_response(_Revocation.ENDPOINT_NAME, asked)
    )


async def _answer(request: Request, needed: str, answer: Callable[["_Server", "_Asked"], JSONResponse]) -> JSONResponse:
    body = await request.body()
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    authorization = request.headers.get("authorization")
    server = _Server(database_of(request), origin_of(request))
    try:
        pairs = _pairs(body) if content_type == _FORM else []
        asked = _Asked(dict(pairs), authorization)
        _check(asked, pairs, needed)
    except OAuth2Error as error:
        return server.handle_response(*error())
    turn: asyncio.Semaphore = request.state.hashing
    async with turn:
        return await run_in_threadpool(answer, server, asked)


def _pairs(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=20)
    except ValueError:
        raise InvalidRequestError("The body is no form in UTF-8.") from None


def _check(asked: "_Asked", pairs: list[tuple[str, str]], needed: str) -> None:
    """Raises an `OAuth2Error` for what RFC 6749 forbids and Authlib lets pass."""
    if len(pairs) != len(asked.form):
        raise InvalidRequestError("A parameter is given more than once.")
    if any("\0" in value for value in asked.form.values()):
        raise InvalidRequestError("A parameter contains a character that is not allowed.")
    if not asked.form.get(needed):
        raise InvalidRequestError(f"The form, of type {_FORM}, lacks {needed}.")
    scheme, _, credentials = asked.headers.get("Authorization", "").strip().partition(" ")
    if not scheme:
        return
    if "client_secret" in asked.form:
        raise InvalidRequestError("The client authenticates in two ways at once.")
    if scheme.lower() == "basic" and not _is_readable(credentials):
        raise InvalidClientError(status_code=401, description="The Authorization header is damaged.")


def _is_readable(credentials: str) -> bool:
    try:
        said = unquote(b64decode(credentials).decode())
    except ValueError:  # neither base64 nor UTF-8
        return False
    return "\0" not in said


class _Asked(OAuth2Request):  # type: ignore[misc]  # Authlib ships no types
    def __init__(self, form: Mapping[str, str], authorization: str | None) -> None:
        # Whether TLS ends before this process is not visible here; Authlib wants to see an https address.
        super().__init__("POST", "https://localhost", headers={"Authorization": authorization} if authorization else {})
        self.payload = BasicOAuth2Payload(form)

    @property
    def form(self) -> Mapping[str, str]:
        form: Mapping[str, str] = self.payload.data
        return form


class _Client:
    """What Authlib asks about a client; one that is not in the database answers like one whose secret was wrong."""

    def __init__(self, row: clients.Client | None) -> None:
        self._row = row

    @property
    def known(self) -> clients.Client:
        """The row, once the secret was right."""
        if self._row is None:
            raise InvalidClientError(status_code=401)
        return self._row

    def scopes_of(self, named: str | None) -> frozenset[str]:
        """Those that a request names, or all of the client's."""
        return frozenset((named or "").split()) or self.known.scopes

    def check_client_secret(self, secret: str) -> bool:
        return clients.is_secret(self._row, secret)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method in _Grant.TOKEN_ENDPOINT_AUTH_METHODS

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in self.known.grant_types


class _Grant(ClientCredentialsGrant):  # type: ignore[misc]  # Authlib ships no types
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]  # noqa: RUF012 - Authlib's own form

    def validate_requested_scope(self) -> None:
        if not self.client.scopes_of(self.request.payload.scope) <= self.client.known.scopes:
            raise InvalidScopeError


class _Revocation(RevocationEndpoint):  # type: ignore[misc]  # Authlib ships no types
    CLIENT_AUTH_METHODS = _Grant.TOKEN_ENDPOINT_AUTH_METHODS

    def check_params(self, request: _Asked, client: _Client) -> None:
        """A hint may help to find a token, never keep it from being found; Authlib refuses those it does not know."""

    def query_token(self, token: str, hint: str | None) -> "_Held | None":
        return self.server.find_token(token)  # type: ignore[no-any-return]  # Authlib ships no types

    def revoke_token(self, token: "_Held", request: _Asked) -> None:
        self.server.revoke(token)


@dataclass(frozen=True, slots=True)
class _Held:
    """A token that is known, and whose it is."""

    token: str
    client: UUID

    def check_client(self, client: _Client) -> bool:
        return client.known.id == self.client


class _Server(AuthorizationServer):  # type: ignore[misc]  # Authlib ships no types
    """Answers one request. Each step has a transaction of its own: no connection is held while a secret is hashed."""

    def __init__(self, database: Database, origin: Origin) -> None:
        super().__init__()
        self._database = database
        self._origin = origin
        self._asking: clients.Client | None = None
        self.register_grant(_Grant)
        self.register_endpoint(_Revocation)
        self.register_token_generator("default", self._new_token)

    def query_client(self, client_id: str) -> _Client:
        with self._database.transaction() as connection:
            self._asking = clients.find(connection, client_id)
        return _Client(self._asking)

    def _new_token(self, client: _Client, scope: str | None, **_: Any) -> dict[str, Any]:
        asked = client.scopes_of(scope)
        self._count(client.known.id)
        with self._database.transaction() as connection:
            access_token = tokens.issue(connection, client.known.id, asked, self._origin)
        return {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": int(tokens.LIFETIME.total_seconds()),
            "scope": " ".join(sorted(asked)),
        }

    def find_token(self, token: str) -> _Held | None:
        """The token, whoever has it. A request that wants to know is one of its client's share."""
        if self._asking is not None:
            self._count(self._asking.id)
        with self._database.transaction() as connection:
            owner = tokens.owner(connection, token)
        return None if owner is None else _Held(token, owner)

    def revoke(self, held: _Held) -> None:
        with self._database.transaction() as connection:
            tokens.revoke(connection, held.token, self._origin)

    def _count(self, client: UUID) -> None:
        with self._database.transaction() as connection:
            wait_s = limits.count(connection, client)
        if wait_s:
            raise limits.too_many(wait_s)

    def save_token(self, token: Mapping[str, Any], request: _Asked) -> None:
        """Nothing is left to do: a token was stored when it was made."""

    def create_oauth2_request(self, request: _Asked) -> _Asked:
        return request

    def handle_error_response(self, request: _Asked, error: Any) -> JSONResponse:
        if self._asking is not None:
            with self._database.transaction() as connection:
                tokens.refuse(connection, self._asking.id, str(error.error), self._origin)
        return self.handle_response(*error())

    def handle_response(self, status: int, body: Mapping[str, Any], headers: list[tuple[str, str]]) -> JSONResponse:
        return JSONResponse(dict(body), status, headers=dict(headers))

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""
