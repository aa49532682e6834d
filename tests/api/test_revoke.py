"""POST /oauth2/revoke (RFC 7009): whose token is worthless afterwards, and what the log says."""

from tests.api.clients import add_client, ask_for_token, token_of
from tests.api.served import Api, Reply
from tests.api.test_token import log
from worker.api.clients import Credentials
from worker.database import Database


def revoke(api: Api, form: dict[str, str], basic: Credentials | None = None) -> Reply:
    return ask_for_token(api, form, basic=basic, path="/oauth2/revoke")


def test_a_revoked_token_is_worthless_at_once_and_logged_once(api: Api, db: Database) -> None:
    client = add_client(db)
    token, other = token_of(api, client), token_of(api, client)
    for _ in range(2):
        reply = revoke(api, {"token": token}, client)
        assert (reply.status, reply.body) == (200, {})
    assert api.call("GET", "/v1/jobs", token).status == 401
    assert api.call("GET", "/v1/jobs", other).status == 200
    assert log(db).count(("revoked", "client_asked")) == 1
    form = {"token": other, "token_type_hint": "access_token"}
    post = {"client_id": client.client_id, "client_secret": client.client_secret}
    assert revoke(api, {**form, **post}).status == 200
    assert api.call("GET", "/v1/jobs", other).status == 401


def test_nobody_revokes_anothers_token(api: Api, db: Database) -> None:
    client, stranger = add_client(db), add_client(db)
    token = token_of(api, client)
    assert revoke(api, {"token": token}, stranger).body["error"] == "invalid_grant"
    assert revoke(api, {"token": token}).status == 401
    assert revoke(api, {"token": token}, Credentials(client.client_id, "wrong")).status == 401
    assert revoke(api, {"token": "unknown"}, stranger).status == 200, "what is not known is as good as revoked"
    assert api.call("GET", "/v1/jobs", token).status == 200
    assert ("revoked", "client_asked") not in log(db)


def test_what_is_wrong_is_said_in_the_words_of_the_standard(api: Api, db: Database) -> None:
    client = add_client(db)
    token = token_of(api, client)
    assert revoke(api, {}, client).body["error"] == "invalid_request"
    assert revoke(api, {"token": ""}, client).body["error"] == "invalid_request"
    assert api.call("GET", "/v1/jobs", token).status == 200
    hinted = revoke(api, {"token": token, "token_type_hint": "refresh_token"}, client)
    assert hinted.status == 200
    assert api.call("GET", "/v1/jobs", token).status == 401, "a wrong hint does not save a token"


def test_revoking_counts_as_a_request(api: Api, db: Database) -> None:
    client = add_client(db, per_minute=2)
    token = token_of(api, client)
    statuses = [revoke(api, {"token": token}, client).status for _ in range(3)]
    assert statuses[0] == 200
    assert 429 in statuses
