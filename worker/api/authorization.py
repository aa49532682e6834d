"""Authlib's authorization server: it reads the credentials, decides and words the errors; this file tells it what is in
the database.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from authlib.oauth2.rfc6749 import (  # type: ignore[import-untyped]  # Authlib ships no types
    AuthorizationServer,
    ClientCredentialsGrant,
    InvalidClientError,
    InvalidScopeError,
    OAuth2Request,
)
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload  # type: ignore[import-untyped]  # Authlib ships no types
from authlib.oauth2.rfc7009 import RevocationEndpoint  # type: ignore[import-untyped]  # Authlib ships no types
from fastapi.responses import JSONResponse

from worker.api import clients, limits, tokens
from worker.api.tokens import Origin
from worker.database import Database

logging.getLogger("authlib").setLevel(logging.INFO)  # at DEBUG it writes tokens into the log


class Asked(OAuth2Request):  # type: ignore[misc]  # Authlib ships no types
    def __init__(self, form: Mapping[str, str], authorization: str | None) -> None:
        # Whether TLS ends before this process is not visible here; Authlib wants to see an https address.
        super().__init__("POST", "https://localhost", headers={"Authorization": authorization} if authorization else {})
        self.payload = BasicOAuth2Payload(form)

    @property
    def form(self) -> Mapping[str, str]:
        form: Mapping[str, str] = self.payload.data
        return form


class Client:
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
        return method in Grant.TOKEN_ENDPOINT_AUTH_METHODS

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in self.known.grant_types


class Grant(ClientCredentialsGrant):  # type: ignore[misc]  # Authlib ships no types
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]  # noqa: RUF012 - Authlib's own form

    def validate_requested_scope(self) -> None:
        if not self.client.scopes_of(self.request.payload.scope) <= self.client.known.scopes:
            raise InvalidScopeError


@dataclass(frozen=True, slots=True)
class Held:
    """A token that is known, and whose it is."""

    token: str
    client: UUID

    def check_client(self, client: Client) -> bool:
        return client.known.id == self.client


class Revocation(RevocationEndpoint):  # type: ignore[misc]  # Authlib ships no types
    CLIENT_AUTH_METHODS = Grant.TOKEN_ENDPOINT_AUTH_METHODS

    def check_params(self, request: Asked, client: Client) -> None:
        """A hint may help to find a token, never keep it from being found; Authlib refuses those it does not know."""

    def query_token(self, token: str, hint: str | None) -> Held | None:
        return self.server.find_token(token)  # type: ignore[no-any-return]  # Authlib ships no types

    def revoke_token(self, token: Held, request: Asked) -> None:
        self.server.revoke(token)


class Server(AuthorizationServer):  # type: ignore[misc]  # Authlib ships no types
    """Answers one request. Each step has a transaction of its own: no connection is held while a secret is hashed."""

    def __init__(self, database: Database, origin: Origin) -> None:
        super().__init__()
        self._database = database
        self._origin = origin
        self._asking: clients.Client | None = None
        self.register_grant(Grant)
        self.register_endpoint(Revocation)
        self.register_token_generator("default", self._new_token)

    def query_client(self, client_id: str) -> Client:
        with self._database.transaction() as connection:
            self._asking = clients.find(connection, client_id)
        return Client(self._asking)

    def _new_token(self, client: Client, scope: str | None, **_: Any) -> dict[str, Any]:
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

    def find_token(self, token: str) -> Held | None:
        """The token, whoever has it. A request that wants to know is one of its client's share."""
        if self._asking is not None:
            self._count(self._asking.id)
        with self._database.transaction() as connection:
            owner = tokens.owner(connection, token)
        return None if owner is None else Held(token, owner)

    def revoke(self, held: Held) -> None:
        with self._database.transaction() as connection:
            tokens.revoke(connection, held.token, self._origin)

    def _count(self, client: UUID) -> None:
        with self._database.transaction() as connection:
            wait_s = limits.count(connection, client)
        if wait_s:
            raise limits.too_many(wait_s)

    def save_token(self, token: Mapping[str, Any], request: Asked) -> None:
        """Nothing is left to do: a token was stored when it was made."""

    def create_oauth2_request(self, request: Asked) -> Asked:
        return request

    def handle_error_response(self, request: Asked, error: Any) -> JSONResponse:
        if self._asking is not None:
            with self._database.transaction() as connection:
                tokens.refuse(connection, self._asking.id, str(error.error), self._origin)
        return self.handle_response(*error())

    def handle_response(self, status: int, body: Mapping[str, Any], headers: list[tuple[str, str]]) -> JSONResponse:
        return JSONResponse(dict(body), status, headers=dict(headers))

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""
