"""Clients of the API for tests: made as an operator makes them, with a token got as an application gets it."""

from base64 import b64encode
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, get_args
from urllib.parse import urlencode

from tests.api.served import Api, Reply
from worker.api import clients
from worker.api.clients import Credentials, Scope
from worker.database import Database

ALL = get_args(Scope)


def add_client(
    db: Database,
    *tenants: str,
    scopes: Collection[str] = ALL,
    per_minute: int = 10_000,
    per_hour: int = 100_000,
) -> Credentials:
    with db.transaction() as connection:
        return clients.add(
            connection, "Upstream", scopes=scopes, tenants=tenants or ("T1",), per_minute=per_minute, per_hour=per_hour
        )


def ask_for_token(
    api: Api, form: dict[str, str], *, basic: Credentials | None = None, path: str = "/oauth2/token"
) -> Reply:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    if basic is not None:
        pair = b64encode(f"{basic.client_id}:{basic.client_secret}".encode()).decode()
        headers["Authorization"] = f"Basic {pair}"
    return api.call("POST", path, None, urlencode(form).encode(), **headers)


def token_of(api: Api, client: Credentials, scope: str | None = None) -> str:
    form = {"grant_type": "client_credentials"} | ({"scope": scope} if scope else {})
    reply = ask_for_token(api, form, basic=client)
    assert reply.status == 200, reply.body
    token: str = reply.body["access_token"]
    return token


@dataclass(frozen=True)
class Upstream:
    """An application that asks for verifications with its token."""

    api: Api
    token: str

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        return self.api.call(method, path, self.token, body, **headers)
