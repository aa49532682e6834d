"""Errors of the HTTP API: requests that are wrong, with values in them that nobody may write down."""

import http.client
import json
from collections.abc import Callable
from urllib.parse import urlencode, urlsplit

from worker.api import clients
from worker.database import Database
from worker.errors import BadRequest


def provoke(database: Database, url: str, word: Callable[[], str]) -> dict[str, str]:
    """Ask in wrong ways; gives what was said, which counts as a canary: names, and the client's secret and token."""
    with database.transaction() as connection:
        client = clients.add(
            connection,
            "check leaks",
            scopes=["verifications:write", "jobs:read"],
            tenants=["check leaks"],
            per_minute=60,
            per_hour=60,
        )
    client_id, secret = client.client_id, client.client_secret
    canaries = {"client secret of 0": secret, "word of 0": word(), "word of 1": word(), "word of 2": word()}
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
    _, token = _post(url, "/oauth2/token", urlencode(form), "application/x-www-form-urlencoded", {})
    bearer = json.loads(token)["access_token"]
    canaries["access token of 0"] = bearer
    login = {"Authorization": f"Bearer {bearer}"}
    wrong = urlencode({**form, "client_secret": canaries["word of 0"] + "x" * 32})
    answers = [
        _post(url, "/oauth2/token", wrong, "application/x-www-form-urlencoded", {}),
        _post(url, "/v1/verifications", json.dumps({"driver_id": canaries["word of 1"]}), "application/json", login),
        _post(url, "/v1/verifications", '{"broken": "' + canaries["word of 2"], "application/json", login),
    ]
    with database.transaction() as connection:
        clients.disable(connection, client_id)
    for status, _ in answers:
        if status < 400:
            raise BadRequest("api_took_it", "the API took a request that is wrong")
    return canaries


def _post(url: str, path: str, body: str, content_type: str, headers: dict[str, str]) -> tuple[int, bytes]:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=10)
    try:
        connection.request("POST", path, body, {"Content-Type": content_type, **headers})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
