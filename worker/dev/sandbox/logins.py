"""Who may call: the token endpoint of RFC 6749 (client credentials only) and the three ways to sign an API call."""

import base64
import binascii
from collections import deque
from hashlib import blake2b
from hmac import compare_digest
from typing import NamedTuple
from urllib.parse import parse_qs

from .bounded import Bounded
from .message import Refusal, Reply, Request, json_reply
from .settings import API_KEY, BASIC_LOGIN, CLIENT_ID, CLIENT_SECRET

SCOPES = ("drivers", "criminal", "vehicles")
TOKEN_LIFE_S = 300
FAILURES_ALLOWED = 5
FAILURE_WINDOW_S = 120

UNAUTHORIZED = Refusal(401, "UNAUTHORIZED", "the credentials are missing or wrong", "Authorization")
TOKEN_EXPIRED = Refusal(401, "TOKEN_EXPIRED", "the access token has expired", "Authorization")
INVALID_API_KEY = Refusal(401, "INVALID_API_KEY", "the API key is not known", "X-API-Key")
FORBIDDEN_SCOPE = Refusal(403, "FORBIDDEN_SCOPE", "the access token's scope does not cover this API", "scope")


class Grant(NamedTuple):
    scopes: frozenset[str]
    expires_at: float


class Logins:
    """Tokens outlive a reset of the sandbox: a worker that cached one would otherwise meet a 401 nobody asked for."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._issued = 0
        self._grants: Bounded[str, Grant] = Bounded(10_000)
        self._failures: Bounded[str, deque[float]] = Bounded(1_000)

    def forgive(self) -> None:
        """Forget the failed logins."""
        self._failures.clear()

    def token(self, request: Request, now: float) -> Reply:
        """The answer of `POST /oauth2/token`. `now` in seconds since 1970, as everywhere here."""
        if not request.header("content-type").startswith("application/x-www-form-urlencoded"):
            return _oauth_error(400, "invalid_request", "the body is not a form")
        form = {name: values[0] for name, values in parse_qs(request.body.decode("latin-1")).items()}
        client_id, secret = _basic(request) or (form.get("client_id", ""), form.get("client_secret", ""))
        if wait_s := self._locked_for(client_id, now):
            return _oauth_error(429, "temporarily_unavailable", "too many failed logins", ("Retry-After", str(wait_s)))
        if not (_same(client_id, CLIENT_ID) and _same(secret, CLIENT_SECRET)):
            self._note_failure(client_id, now)
            return _oauth_error(401, "invalid_client", "client authentication failed", ("WWW-Authenticate", "Basic"))
        if "grant_type" not in form:
            return _oauth_error(400, "invalid_request", "grant_type is missing")
        if form["grant_type"] != "client_credentials":
            return _oauth_error(400, "unsupported_grant_type", "only client_credentials is served")
        scopes = form.get("scope", " ".join(SCOPES)).split()
        if not scopes or not set(scopes) <= set(SCOPES):
            return _oauth_error(400, "invalid_scope", f"the scopes are {', '.join(SCOPES)}")
        return json_reply(
            200,
            {
                "access_token": self._issue(frozenset(scopes), now),
                "token_type": "Bearer",
                "expires_in": TOKEN_LIFE_S,
                "scope": " ".join(scopes),
            },
            ("Cache-Control", "no-store"),
        )

    def check(self, request: Request, scope: str, now: float) -> Refusal | None:
        """Why this API call may not pass, or nothing."""
        if api_key := request.header("x-api-key"):
            return None if _same(api_key, API_KEY) else INVALID_API_KEY
        if login := _basic(request):
            return None if _same(":".join(login), BASIC_LOGIN) else UNAUTHORIZED
        scheme, _, token = request.header("authorization").partition(" ")
        grant = self._grants.get(token) if scheme.lower() == "bearer" else None
        if grant is None:
            return UNAUTHORIZED
        if now >= grant.expires_at:
            return TOKEN_EXPIRED
        return None if scope in grant.scopes else FORBIDDEN_SCOPE

    def _issue(self, scopes: frozenset[str], now: float) -> str:
        self._issued += 1
        token = "sbx_" + blake2b(f"{self._seed}:{self._issued}".encode(), digest_size=20).hexdigest()
        self._grants[token] = Grant(scopes, now + TOKEN_LIFE_S)
        return token

    def _note_failure(self, client_id: str, now: float) -> None:
        failures = self._failures.get(client_id) or deque(maxlen=FAILURES_ALLOWED)
        failures.append(now)
        self._failures[client_id] = failures

    def _locked_for(self, client_id: str, now: float) -> int:
        """Whole seconds until this client may try again; 0 if it may now."""
        failures = self._failures.get(client_id)
        if failures is None or len(failures) < FAILURES_ALLOWED:
            return 0
        return max(0, int(failures[0] + FAILURE_WINDOW_S - now + 0.999))


def _basic(request: Request) -> tuple[str, str] | None:
    """User and password of Basic authentication (RFC 7617), split at the first colon."""
    scheme, _, encoded = request.header("authorization").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return user, password


def _same(given: str, expected: str) -> bool:
    return compare_digest(given.encode(), expected.encode())


def _oauth_error(status: int, error: str, description: str, *headers: tuple[str, str]) -> Reply:
    """The error form of RFC 6749, section 5.2."""
    return json_reply(
        status, {"error": error, "error_description": description}, ("Cache-Control", "no-store"), *headers
    )
