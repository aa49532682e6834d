"""POST /oauth2/token: a client's id and secret become an access token (RFC 6749, client credentials).
POST /oauth2/revoke: the token is worthless before its time (RFC 7009).

`authorization.py` decides. What it leaves open is checked here before: parameters given twice, two ways of
authentication at once, and Basic that is no text.
"""

import asyncio
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote

from authlib.oauth2 import OAuth2Error  # type: ignore[import-untyped]  # Authlib ships no types
from authlib.oauth2.rfc6749 import (  # type: ignore[import-untyped]  # Authlib ships no types
    InvalidClientError,
    InvalidRequestError,
)
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from worker.api import clients, problems
from worker.api.auth import database_of, origin_of
from worker.api.authorization import Asked, Revocation, Server

PATH = "/oauth2/token"
REVOKE_PATH = "/oauth2/revoke"
_FORM = "application/x-www-form-urlencoded"

HASHES_AT_ONCE = 2
"""A hash takes 64 MiB and tens of milliseconds, and anybody may have us compute one. Who waits holds no thread."""

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
        request, "token", lambda server, asked: server.create_endpoint_response(Revocation.ENDPOINT_NAME, asked)
    )


async def _answer(request: Request, needed: str, answer: Callable[[Server, Asked], JSONResponse]) -> JSONResponse:
    body = await request.body()
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    authorization = request.headers.get("authorization")
    server = Server(database_of(request), origin_of(request))
    try:
        pairs = _pairs(body) if content_type == _FORM else []
        asked = Asked(dict(pairs), authorization)
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


def _check(asked: Asked, pairs: list[tuple[str, str]], needed: str) -> None:
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
