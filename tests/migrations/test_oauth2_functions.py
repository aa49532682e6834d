"""Expiry and revocation of tokens: each event once, families kept whole, in batches, by any number of callers."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors
from psycopg.types.json import Jsonb

from models.users import SYSTEM_USER_ID
from tests.conftest import DatabaseUrls
from tests.migrations.rows import insert, only

CLEAN = "SELECT cleanup_expired_oauth2_tokens()"
REVOKE = "SELECT revoke_user_tokens(%s, 'password changed')"


def client(connection: psycopg.Connection) -> UUID:
    found = connection.execute("SELECT id FROM oauth2_clients").fetchone()
    if found is None:
        id_: UUID = insert(connection, "oauth2_clients", client_id="portal", client_name="Portal")
        return id_
    return UUID(str(found[0]))


def expiring(connection: psycopg.Connection, after: str) -> Any:
    return only(connection, "SELECT now() + %s::interval", after)


def token(connection: psycopg.Connection, after: str, **values: Any) -> Any:
    """A refresh token that expires `after` from now; a negative interval has expired."""
    return insert(
        connection,
        "oauth2_refresh_tokens",
        client_id=client(connection),
        user_id=SYSTEM_USER_ID,
        token_hash=uuid4().hex,
        expires_at=expiring(connection, after),
        **values,
    )


def code(connection: psycopg.Connection, after: str, **values: Any) -> Any:
    return insert(
        connection,
        "oauth2_authorization_codes",
        client_id=client(connection),
        user_id=SYSTEM_USER_ID,
        code_hash=uuid4().hex,
        redirect_uri="https://portal.example/cb",
        expires_at=expiring(connection, after),
        **values,
    )


def clean_until_done(connection: psycopg.Connection) -> int:
    """How many calls it took until one found nothing to do."""
    for calls in range(1, 100):
        if only(connection, CLEAN) == 0:
            return calls
    raise AssertionError("cleanup never ends")


def remaining(connection: psycopg.Connection) -> set[Any]:
    return {id_ for (id_,) in connection.execute("SELECT id FROM oauth2_refresh_tokens")}


def test_each_token_expires_once(database: DatabaseUrls) -> None:
    with psycopg.connect(database.app_url, autocommit=True) as connection:
        for _ in range(20):
            token(connection, "-1 minute")
            token(connection, "-30 days")
            code(connection, "-1 minute")
            code(connection, "-30 days")
        token(connection, "1 day")
        now = only(connection, "SELECT now()")
        token(connection, "-1 minute", used_at=now)
        token(connection, "-1 minute", revoked_at=now)
        code(connection, "-1 minute", used_at=now)
    start = Barrier(4)

    def run(_: int) -> None:
        with psycopg.connect(database.app_url, autocommit=True) as connection:
            start.wait()
            clean_until_done(connection)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))
    with psycopg.connect(database.app_url, autocommit=True) as connection:
        clean_until_done(connection)
        events = connection.execute("""
            SELECT token_type, action, count(*), count(DISTINCT token_hash) FROM oauth2_token_logs GROUP BY 1, 2
             ORDER BY 1""").fetchall()
        assert events == [("authorization_code", "expired", 40, 40), ("refresh_token", "expired", 40, 40)]
        assert len(remaining(connection)) == 20 + 3
        assert only(connection, "SELECT count(*) FROM oauth2_authorization_codes") == 20 + 1


def test_a_family_stays_until_its_last_member_has_expired(application: psycopg.Connection) -> None:
    now = only(application, "SELECT now()")
    living, over = uuid4(), uuid4()
    used = token(application, "-40 days", family_id=living, used_at=now)
    revoked = token(application, "-30 days", family_id=living, parent_token_id=used, revoked_at=now)
    active = token(application, "1 day", family_id=living, parent_token_id=revoked)
    old = token(application, "-40 days", family_id=over, used_at=now)
    recent = token(application, "-1 day", family_id=over, parent_token_id=old)
    clean_until_done(application)
    assert remaining(application) == {used, revoked, active, recent}
    assert only(application, "SELECT parent_token_id FROM oauth2_refresh_tokens WHERE id = %s", recent) is None


def test_cleanup_works_in_batches(application: psycopg.Connection) -> None:
    for _ in range(5):
        token(application, "-30 days")
    results = [only(application, "SELECT cleanup_expired_oauth2_tokens(2)") for _ in range(4)]
    assert results == [2 + 2, 2 + 2, 1 + 1, 0]
    assert only(application, "SELECT count(*) FROM oauth2_token_logs") == 5
    with pytest.raises(errors.InvalidParameterValue, match="p_batch"), application.transaction():
        application.execute("SELECT cleanup_expired_oauth2_tokens(0)")


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 100])
def test_a_pass_in_batches_misses_nothing_and_ends(application: psycopg.Connection, batch: int) -> None:
    """Many tokens share a time, and the old ones wait for events that later batches write."""
    now = only(application, "SELECT now()")
    for expires in ("-30 days", "-30 days", "-30 days", "-29 days", "-8 days", "-1 hour", "-1 hour", "1 day"):
        token(application, expires)
        code(application, expires)
    family = uuid4()
    living = token(application, "1 day", family_id=family)
    used = token(application, "-30 days", family_id=family, used_at=now)
    over = token(application, "-30 days", used_at=now)
    expired, removed = 0, 0
    after: dict[str, str] | None = None
    for _ in range(50):
        done = only(application, "SELECT clean_oauth2_tokens(%s, %s)", batch, Jsonb(after) if after else None)
        expired, removed, after = expired + done["expired"], removed + done["removed"], done["after"]
        if after is None:
            break
    assert after is None
    assert (expired, removed) == (14, 11)
    assert remaining(application) >= {living, used}
    assert over not in remaining(application)
    assert only(application, CLEAN) == 0


def test_later_batches_do_not_look_at_the_tokens_of_earlier_ones(application: psycopg.Connection) -> None:
    """Each read all that had expired within the grace, and compared it with the whole log: twice the tokens took four
    times as long."""
    for minutes in range(80):
        token(application, f"-{minutes + 1} minutes")
    after: dict[str, str] | None = None
    looked_at = []
    for _ in range(8):
        before = only(application, LOOKED_AT)
        after = only(application, "SELECT clean_oauth2_tokens(10, %s) -> 'after'", Jsonb(after) if after else None)
        looked_at.append(only(application, LOOKED_AT) - before)
    assert max(looked_at) <= 40
    assert only(application, "SELECT count(*) FROM oauth2_token_logs") == 80


LOOKED_AT = """
    SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::integer FROM pg_stat_xact_user_tables
     WHERE relname IN ('oauth2_refresh_tokens', 'oauth2_token_logs')
"""


def test_a_second_cleanup_at_the_same_time_leaves_the_work_to_the_first(database: DatabaseUrls) -> None:
    with psycopg.connect(database.app_url) as first, psycopg.connect(database.app_url) as second:
        token(first, "-1 minute")
        first.commit()
        assert only(first, CLEAN) == 1
        assert only(second, CLEAN) == 0


def test_revoking_twice_logs_each_token_once(application: psycopg.Connection) -> None:
    token(application, "1 day")
    token(application, "1 day", used_at=only(application, "SELECT now()"))
    token(application, "-1 day")
    assert only(application, REVOKE, SYSTEM_USER_ID) == 2
    assert only(application, REVOKE, SYSTEM_USER_ID) == 0
    logged = application.execute(
        "SELECT action, reason, count(*), count(DISTINCT token_hash) FROM oauth2_token_logs GROUP BY 1, 2"
    ).fetchall()
    assert logged == [("revoked", "password changed", 2, 2)]
    assert only(application, REVOKE, uuid4()) == 0


def test_a_client_with_events_cannot_be_deleted(application: psycopg.Connection) -> None:
    token(application, "-30 days")
    clean_until_done(application)
    assert remaining(application) == set()
    with pytest.raises((errors.RestrictViolation, errors.ForeignKeyViolation)):
        application.execute("DELETE FROM oauth2_clients")
