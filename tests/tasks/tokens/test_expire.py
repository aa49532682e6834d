"""The tokens job on a real database: each token is over once, whoever looks, and a dry run leaves all as it is."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from models.users import SYSTEM_USER_ID
from tasks.tokens.task import expire
from tests.conftest import DatabaseUrls
from tests.migrations.rows import insert, only
from tests.migrations.test_oauth2_functions import client, code, expiring, token
from tests.tasks.maintaining import Maintained, maintained
from worker.database import Database
from worker.settings import Settings


@pytest.fixture
def tokens(settings: Settings, db: Database, database: DatabaseUrls) -> Iterator[Maintained]:
    with maintained(settings, db, database, expire) as tokens:
        yield tokens


def access_token(connection: psycopg.Connection, after: str, **values: Any) -> str:
    hash_ = uuid4().hex
    connection.execute(
        "INSERT INTO oauth2_access_tokens (token_hash, client_id, expires_at, used_at, revoked_at)"
        " VALUES (%s, %s, %s, %s, %s)",
        [hash_, client(connection), expiring(connection, after), values.get("used_at"), values.get("revoked_at")],
    )
    return hash_


def session(connection: psycopg.Connection, after: str, **values: Any) -> Any:
    return insert(
        connection,
        "user_sessions",
        user_id=SYSTEM_USER_ID,
        session_token_hash=uuid4().hex,
        expires_at=expiring(connection, after),
        **values,
    )


def events(connection: psycopg.Connection) -> dict[str, int]:
    rows = connection.execute(
        "SELECT token_type, count(*) FROM oauth2_token_logs WHERE action = 'expired' GROUP BY token_type"
    )
    return dict(rows.fetchall())


def test_all_kinds_of_tokens_expire_once_and_leave_after_their_grace(tokens: Maintained) -> None:
    now = only(tokens.owner, "SELECT now()")
    for after in ("-1 minute", "-30 days", "1 day"):
        token(tokens.owner, after)
        code(tokens.owner, after)
        access_token(tokens.owner, after)
    access_token(tokens.owner, "-1 minute", used_at=now)
    access_token(tokens.owner, "-30 days", revoked_at=now)
    first = tokens.run()
    assert first["state"] == "done"
    assert first["progress"]["counts"]["oauth2_tokens"] == {"expired": 7, "removed": 4}
    assert events(tokens.owner) == {"refresh_token": 2, "authorization_code": 2, "access_token": 3}
    assert tokens.run()["progress"]["counts"].get("oauth2_tokens", {}) == {}
    assert events(tokens.owner) == {"refresh_token": 2, "authorization_code": 2, "access_token": 3}
    assert only(tokens.owner, "SELECT count(*) FROM oauth2_access_tokens") == 3


def test_the_api_and_the_job_log_the_end_of_an_access_token_once(tokens: Maintained) -> None:
    from worker.api import tokens as api

    access_token(tokens.owner, "-30 hours")
    access_token(tokens.owner, "-30 hours")
    with tokens.db.transaction() as connection:
        api.issue(connection, client(tokens.owner), [], api.Origin(None, None))
    tokens.run()
    assert events(tokens.owner) == {"access_token": 2}


def test_sessions_are_closed_at_the_time_they_expired(tokens: Maintained) -> None:
    over, open_ = session(tokens.owner, "-1 hour"), session(tokens.owner, "1 hour")
    earlier = expiring(tokens.owner, "-2 hours")
    revoked = session(tokens.owner, "-1 hour", revoked_at=earlier)
    assert tokens.run()["progress"]["counts"]["user_sessions"] == {"expired": 1}
    rows = tokens.owner.execute("SELECT id, revoked_at = expires_at FROM user_sessions").fetchall()
    assert dict(rows) == {over: True, open_: None, revoked: False}


def test_a_client_whose_time_is_over_is_disabled_and_that_is_in_the_trail(tokens: Maintained) -> None:
    over = insert(
        tokens.owner, "oauth2_clients", client_id="over", client_name="O", expires_at=expiring(tokens.owner, "-1 s")
    )
    insert(tokens.owner, "oauth2_clients", client_id="on", client_name="N", expires_at=expiring(tokens.owner, "1 day"))
    assert tokens.run()["progress"]["counts"]["oauth2_clients"] == {"expired": 1}
    assert tokens.owner.execute("SELECT client_id FROM oauth2_clients WHERE is_active").fetchall() == [("on",)]
    told = tokens.owner.execute(
        "SELECT resource_id FROM audit_logs WHERE action = 'clients.expired' AND resource_type = 'oauth2_client'"
    ).fetchall()
    assert told == [(str(over),)]


def test_a_code_with_its_challenge_expires_once_and_leaves_a_day_later(tokens: Maintained) -> None:
    challenge = {"code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "code_challenge_method": "S256"}
    code(tokens.owner, "-1 hour", **challenge)
    code(tokens.owner, "-25 hours", **challenge)
    tokens.run()
    assert events(tokens.owner) == {"authorization_code": 2}
    assert only(tokens.owner, "SELECT count(*) FROM oauth2_authorization_codes") == 1


def test_a_dry_run_finds_what_the_real_one_does(tokens: Maintained) -> None:
    for after in ("-1 minute", "-30 days"):
        token(tokens.owner, after)
        code(tokens.owner, after)
        session(tokens.owner, after)
    dry = tokens.run(dry_run=True)["progress"]["counts"]
    assert events(tokens.owner) == {}
    assert dry == tokens.run()["progress"]["counts"]
    assert dry["oauth2_tokens"] == {"expired": 4, "removed": 2}
