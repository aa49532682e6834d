"""Rotation of refresh tokens: never a fork by accident, reuse ends the family, and a lost answer does not."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from threading import Barrier
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors, sql

from models.users import SYSTEM_USER_ID
from tests.conftest import DatabaseUrls
from tests.migrations.rows import insert, only
from tests.migrations.test_oauth2_functions import client, token
from tests.waiting import in_thread, until


class Rotation(NamedTuple):
    outcome: str
    token_id: UUID | None
    family: UUID | None
    new_hash: str


def rotate(connection: psycopg.Connection, old_hash: str, **options: Any) -> Rotation:
    given = {"p_client_id": client(connection), "p_old_hash": old_hash, "p_new_hash": uuid4().hex, **options}
    named = [sql.SQL("{} => %s").format(sql.Identifier(name)) for name in given]
    query = sql.SQL("SELECT outcome, token_id, family FROM rotate_refresh_token({})").format(sql.SQL(", ").join(named))
    row = connection.execute(query, list(given.values())).fetchone()
    assert row is not None
    outcome, token_id, family = row
    return Rotation(outcome, token_id, family, str(given["p_new_hash"]))


def issued(connection: psycopg.Connection, after: str = "1 day", **values: Any) -> tuple[str, UUID]:
    """Hash and family of a new token."""
    id_ = token(connection, after, **values)
    row = connection.execute("SELECT token_hash, family_id FROM oauth2_refresh_tokens WHERE id = %s", [id_]).fetchone()
    assert row is not None
    return row[0], row[1]


def live(connection: psycopg.Connection, family: UUID) -> int:
    found: int = only(
        connection,
        """SELECT count(*) FROM oauth2_refresh_tokens
            WHERE family_id = %s AND used_at IS NULL AND revoked_at IS NULL AND expires_at > now()""",
        family,
    )
    return found


def test_a_token_is_exchanged_for_one_of_the_same_family_and_user(application: psycopg.Connection) -> None:
    old, family = issued(application, scopes=["policies:read"])
    rotation = rotate(application, old, p_ip="192.0.2.7")
    assert (rotation.outcome, rotation.family) == ("rotated", family)
    row = application.execute(
        """SELECT child.user_id, child.scopes, parent.token_hash, parent.used_at IS NOT NULL,
                  child.expires_at > now() + interval '29 days'
             FROM oauth2_refresh_tokens child JOIN oauth2_refresh_tokens parent ON parent.id = child.parent_token_id
            WHERE child.id = %s""",
        [rotation.token_id],
    ).fetchone()
    assert row == (SYSTEM_USER_ID, ["policies:read"], old, True, True)
    logged = application.execute("SELECT action, token_hash, host(ip_address) FROM oauth2_token_logs").fetchall()
    assert logged == [("refreshed", rotation.new_hash, "192.0.2.7")]


def test_reuse_of_a_rotated_token_ends_its_family_and_is_logged_with_its_risk(application: psycopg.Connection) -> None:
    stolen, family = issued(application)
    second = rotate(application, stolen)
    rotate(application, second.new_hash)
    other, other_family = issued(application)
    assert live(application, family) == 1
    assert rotate(application, stolen).outcome == "reused"
    assert (live(application, family), live(application, other_family)) == (0, 1)
    reuse = application.execute(
        "SELECT risk_score, security_flags FROM oauth2_token_logs WHERE action = 'used' AND token_hash = %s", [stolen]
    ).fetchall()
    assert reuse == [(Decimal("0.90"), ["refresh_token_reuse", "family_revoked"])]
    trail = application.execute(
        "SELECT resource_id, risk_score, security_alerts, details ->> 'tokens_revoked' FROM audit_logs"
        " WHERE action = 'tokens.reused'"
    ).fetchall()
    assert trail == [(str(family), Decimal("0.90"), ["refresh_token_reuse"], "3")]
    assert rotate(application, second.new_hash).outcome == "revoked"
    assert rotate(application, other).outcome == "rotated"


def test_reuse_after_the_grace_ends_the_family_even_if_its_child_is_unused(application: psycopg.Connection) -> None:
    old, family = issued(application)
    rotate(application, old)
    application.execute(
        "UPDATE oauth2_refresh_tokens SET used_at = used_at - interval '31 s' WHERE used_at IS NOT NULL"
    )
    assert rotate(application, old).outcome == "reused"
    assert live(application, family) == 0


def test_a_lost_answer_does_not_end_the_family(application: psycopg.Connection) -> None:
    old, family = issued(application)
    rotate(application, old)
    again = rotate(application, old)
    assert (again.outcome, again.family) == ("graced", family)
    assert rotate(application, again.new_hash).outcome == "rotated"
    graced = application.execute(
        "SELECT risk_score, security_flags FROM oauth2_token_logs WHERE reason = 'repeated_within_grace'"
    ).fetchall()
    assert graced == [(Decimal("0.30"), ["grace"])]


def test_grace_is_for_the_token_just_before_only(application: psycopg.Connection) -> None:
    first, family = issued(application)
    second = rotate(application, first)
    rotate(application, second.new_hash)
    assert rotate(application, first).outcome == "reused"
    assert live(application, family) == 0


def test_without_grace_a_second_use_is_reuse(application: psycopg.Connection) -> None:
    old, _ = issued(application)
    rotate(application, old)
    assert rotate(application, old, p_grace=timedelta(0)).outcome == "reused"


def test_a_deliberate_revocation_has_no_grace(application: psycopg.Connection) -> None:
    old, family = issued(application)
    rotate(application, old)
    only(application, "SELECT revoke_user_tokens(%s)", SYSTEM_USER_ID)
    assert [rotate(application, old).outcome for _ in range(3)] == ["revoked"] * 3
    assert live(application, family) == 0
    assert only(application, "SELECT count(*) FROM oauth2_token_logs WHERE reason = 'revoked_token'") == 1


def test_what_is_not_a_good_token_is_told_apart_and_changes_nothing(application: psycopg.Connection) -> None:
    mine = client(application)
    good, _ = issued(application)
    expired, _ = issued(application, "-1 minute")
    other = insert(application, "oauth2_clients", client_id="other", client_name="Other")
    assert rotate(application, "nobody").outcome == "unknown"
    assert rotate(application, expired, p_client_id=mine).outcome == "expired"
    assert rotate(application, good, p_client_id=other).outcome == "unknown"
    application.execute("UPDATE oauth2_clients SET expires_at = now() - interval '1 s' WHERE id <> %s", [other])
    assert rotate(application, good, p_client_id=mine).outcome == "client_over"
    assert only(application, "SELECT count(*) FROM oauth2_token_logs") == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("p_lifetime", timedelta(0)),
        ("p_lifetime", None),
        ("p_grace", timedelta(seconds=61)),
        ("p_grace", timedelta(seconds=-1)),
        ("p_new_hash", None),
    ],
)
def test_bad_input_is_refused_by_name(application: psycopg.Connection, name: str, value: Any) -> None:
    old, _ = issued(application)
    with pytest.raises(errors.InvalidParameterValue, match=name), application.transaction():
        rotate(application, old, **{name: value})


def test_revoking_takes_the_access_tokens_along(application: psycopg.Connection) -> None:
    application.execute(
        """INSERT INTO oauth2_access_tokens (token_hash, client_id, expires_at)
           SELECT hash, %s, now() + interval '15 minutes' FROM unnest(ARRAY['a', 'b']) AS hash""",
        [client(application)],
    )
    issued(application, access_token_hash="a")
    assert only(application, "SELECT revoke_user_tokens(%s)", SYSTEM_USER_ID) == 1
    revoked = application.execute("SELECT token_hash FROM oauth2_access_tokens WHERE revoked_at IS NOT NULL").fetchall()
    assert revoked == [("a",)]


def test_eight_callers_with_one_token_do_not_end_the_family(database: DatabaseUrls) -> None:
    with psycopg.connect(database.app_url, autocommit=True) as connection:
        old, family = issued(connection)
    start = Barrier(8)

    def call(_: int) -> Rotation:
        with psycopg.connect(database.app_url, autocommit=True) as connection:
            start.wait()
            return rotate(connection, old)

    with ThreadPoolExecutor(8) as pool:
        rotations = list(pool.map(call, range(8)))
    assert sorted(rotation.outcome for rotation in rotations) == ["graced"] * 7 + ["rotated"]
    with psycopg.connect(database.app_url, autocommit=True) as connection:
        assert live(connection, family) == 8
        assert rotate(connection, rotations[0].new_hash).outcome == "rotated"


@pytest.mark.parametrize("revocation", ["reuse", "user"])
def test_no_child_of_a_rotation_under_way_survives_a_revocation(database: DatabaseUrls, revocation: str) -> None:
    with (
        psycopg.connect(database.app_url, autocommit=True) as setup,
        psycopg.connect(database.app_url) as rotating,
        psycopg.connect(database.app_url, autocommit=True) as revoking,
    ):
        stolen, family = issued(setup)
        second = rotate(setup, stolen)
        third = rotate(setup, second.new_hash)
        assert rotate(rotating, third.new_hash).outcome == "rotated"  # not committed yet

        def revoke() -> None:
            if revocation == "reuse":
                assert rotate(revoking, stolen).outcome == "reused"
            else:
                only(revoking, "SELECT revoke_user_tokens(%s)", SYSTEM_USER_ID)

        done = in_thread(revoke)
        until(lambda: only(setup, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
        rotating.commit()
        done()
        assert live(setup, family) == 0
