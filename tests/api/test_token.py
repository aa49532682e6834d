"""POST /oauth2/token: who gets a token, what everybody else is told (RFC 6749, section 5), and what the log says."""

import logging
from base64 import b64encode
from hashlib import sha256

import pytest
from sqlalchemy import text

from tests.api.clients import ALL, add_client, ask_for_token, token_of
from tests.api.served import Api
from worker.api import clients
from worker.api.clients import Credentials
from worker.database import Database

GRANT = {"grant_type": "client_credentials"}


def log(db: Database) -> list[tuple[str, str | None]]:
    """Action and reason of each event, in order."""
    with db.transaction() as connection:
        rows = connection.execute(text("SELECT action, reason FROM oauth2_token_logs ORDER BY created_at, action"))
        return [(row.action, row.reason) for row in rows]


def change_client(db: Database, change: str) -> None:
    with db.transaction() as connection:
        connection.execute(text(f"UPDATE oauth2_clients SET {change}"))  # noqa: S608 - the tests' own words


def test_id_and_secret_become_a_token_by_header_or_form(api: Api, db: Database) -> None:
    client = add_client(db, scopes=["jobs:read", "jobs:write"])
    form = {**GRANT, "client_id": client.client_id, "client_secret": client.client_secret}
    for reply in (ask_for_token(api, GRANT, basic=client), ask_for_token(api, form)):
        assert reply.status == 200
        assert reply.headers["Cache-Control"] == "no-store"
        token = reply.body.pop("access_token")
        assert len(token) >= 43, "256 bits in base64"
        assert reply.body == {"token_type": "Bearer", "expires_in": 900, "scope": "jobs:read jobs:write"}
        assert api.call("GET", "/v1/jobs", token).status == 200


def test_tokens_and_secrets_are_stored_as_hashes_only(api: Api, db: Database) -> None:
    client = add_client(db)
    token = token_of(api, client)
    with db.transaction() as connection:
        stored = connection.execute(text("SELECT token_hash FROM oauth2_access_tokens")).scalar_one()
        hashed = connection.execute(text("SELECT client_secret_hash FROM oauth2_clients")).scalar_one()
    assert stored == sha256(token.encode()).hexdigest()
    assert hashed.startswith("$argon2id$")
    assert client.client_secret not in hashed


def test_a_client_may_ask_for_less_than_it_has_and_not_for_more(api: Api, db: Database) -> None:
    client = add_client(db, scopes=["jobs:read", "jobs:write"])
    token = token_of(api, client, "jobs:read")
    assert api.call("GET", "/v1/jobs", token).status == 200
    assert api.call("POST", f"/v1/jobs/{'0' * 8}-0000-4000-8000-{'0' * 12}:cancel", token).status == 403
    reply = ask_for_token(api, {**GRANT, "scope": "jobs:read verifications:write"}, basic=client)
    assert (reply.status, reply.body["error"]) == (400, "invalid_scope")


def test_whoever_is_not_known_is_told_the_same_as_whose_secret_is_wrong(api: Api, db: Database) -> None:
    client = add_client(db)
    answers = [
        ask_for_token(api, GRANT, basic=Credentials(client.client_id, "wrong")),
        ask_for_token(api, GRANT, basic=Credentials("nobody", client.client_secret)),
        ask_for_token(api, {**GRANT, "client_id": client.client_id, "client_secret": "wrong"}),
        ask_for_token(api, {**GRANT, "client_id": "nobody", "client_secret": "wrong"}),
        ask_for_token(api, {**GRANT, "client_id": client.client_id}),
        ask_for_token(api, GRANT),
    ]
    for change in ("is_active = false", "is_active = true, expires_at = now()", "client_secret_hash = NULL"):
        change_client(db, change)
        answers.append(ask_for_token(api, GRANT, basic=client))
        change_client(db, "expires_at = NULL")
    assert {reply.status for reply in answers} == {401}
    assert {reply.body["error"] for reply in answers} == {"invalid_client"}
    assert len({reply.body["error_description"] for reply in answers}) == 1
    assert all(reply.headers["WWW-Authenticate"].startswith("Basic ") for reply in answers)
    assert "geheim" not in str([reply.body for reply in answers])


FORM = {"Content_Type": "application/x-www-form-urlencoded"}
WRONG: list[tuple[bytes, dict[str, str], int, str]] = [
    (b"", {}, 400, "invalid_request"),
    (b"grant_type=", {}, 400, "invalid_request"),
    (b"grant_type=client_credentials&grant_type=client_credentials", {}, 400, "invalid_request"),
    (b"grant_type=client_credentials&scope=a&scope=b", {}, 400, "invalid_request"),
    (b"grant_type=client_credentials&client_id=%00&client_secret=x", {}, 400, "invalid_request"),
    (b"grant_type=client_credentials&client_id=%ff&client_secret=x", {}, 400, "invalid_request"),
    (b"\xff\xfe", {}, 400, "invalid_request"),
    (b"&".join(b"a%d=1" % n for n in range(30)), {}, 400, "invalid_request"),
    (b"grant_type=client_credentials", {"Content_Type": "application/json"}, 400, "invalid_request"),
    (b"grant_type=password&username=geheim&password=geheim", {}, 400, "unsupported_grant_type"),
    (b"grant_type=geheim", {}, 400, "unsupported_grant_type"),
    (b"grant_type=client_credentials&client_secret=x", {"Authorization": "Basic eDp5"}, 400, "invalid_request"),
    (b"grant_type=client_credentials", {"Authorization": "Basic geheim!"}, 401, "invalid_client"),
    (b"grant_type=client_credentials", {"Authorization": "Basic /////w=="}, 401, "invalid_client"),
    (b"grant_type=client_credentials", {"Authorization": "Basic JTAwOng="}, 401, "invalid_client"),
    (b"grant_type=client_credentials", {"Authorization": "Basic eA=="}, 401, "invalid_client"),
    (b"grant_type=client_credentials", {"Authorization": "Basic"}, 401, "invalid_client"),
    (b"grant_type=client_credentials", {"Authorization": "Bearer geheim"}, 401, "invalid_client"),
]


def test_requests_that_are_no_requests_are_refused_in_the_protocols_words(api: Api) -> None:
    for body, headers, status, error in WRONG:
        reply = api.call("POST", "/oauth2/token", None, body, **{**FORM, **headers})
        assert (reply.status, reply.body["error"]) == (status, error), (body, headers)
        assert "geheim" not in str(reply.body)
        assert ("WWW-Authenticate" in reply.headers) == (status == 401)


def test_a_client_without_the_grant_gets_no_token(api: Api, db: Database) -> None:
    client = add_client(db)
    change_client(db, """allowed_grant_types = '["refresh_token"]'""")
    reply = ask_for_token(api, GRANT, basic=client)
    assert (reply.status, reply.body["error"]) == (400, "unauthorized_client")


def test_the_log_tells_a_tokens_life(api: Api, db: Database) -> None:
    client = add_client(db, scopes=["jobs:read"])
    token = token_of(api, client)
    for _ in range(2):
        api.call("GET", "/v1/jobs", token)
        api.call("GET", "/v1/verifications/1", token)
    with db.transaction() as connection:
        assert clients.disable(connection, client.client_id) == 1
    for _ in range(2):
        assert api.call("GET", "/v1/jobs", token).status == 401
    ask_for_token(api, GRANT, basic=client)
    assert log(db) == [
        ("issued", None),
        ("used", None),
        ("introspected", "insufficient_scope"),
        ("revoked", "client_disabled"),
        ("introspected", "revoked_token"),
        ("introspected", "invalid_client"),
    ]
    with db.transaction() as connection:
        told = connection.execute(
            text("SELECT DISTINCT host(ip_address), user_agent FROM oauth2_token_logs WHERE action <> 'revoked'")
        ).all()
    assert told == [("127.0.0.1", None)]


def test_the_expiry_of_a_token_is_logged_once_when_it_leaves(api: Api, db: Database) -> None:
    client = add_client(db)
    token_of(api, client)
    with db.transaction() as connection:
        connection.execute(text("UPDATE oauth2_access_tokens SET expires_at = now() - interval '25 hours'"))
    token_of(api, client)
    token_of(api, client)
    assert sorted(action for action, _ in log(db)) == ["expired", "issued", "issued", "issued"]
    with db.transaction() as connection:
        assert connection.execute(text("SELECT count(*) FROM oauth2_access_tokens")).scalar_one() == 2


def test_no_log_holds_a_token_or_a_secret(api: Api, db: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client = add_client(db)
    token = token_of(api, client)
    api.call("GET", "/v1/jobs", token)
    ask_for_token(api, {**GRANT, "client_id": client.client_id, "client_secret": client.client_secret})
    assert caplog.records, "somebody logs at this level"
    for secret in (token, client.client_secret):
        assert secret not in caplog.text


def test_every_scope_is_described() -> None:
    assert set(clients.SCOPES) == set(ALL)


def test_basic_credentials_may_be_percent_encoded(api: Api, db: Database) -> None:
    client = add_client(db)
    encoded = "".join(f"%{ord(character):02x}" for character in client.client_secret)
    pair = b64encode(f"{client.client_id}:{encoded}".encode()).decode()
    headers = {**FORM, "Authorization": f"Basic {pair}"}
    assert api.call("POST", "/oauth2/token", None, b"grant_type=client_credentials", **headers).status == 200
