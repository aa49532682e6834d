"""Rotating keys on a real database, for every column that is declared encrypted."""

import base64
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from tasks.keys.store import encrypted_columns
from tasks.keys.task import rotate
from tests.conftest import DatabaseUrls, settings_for
from tests.migrations.rows import configuration, insert, only
from tests.tasks.maintaining import Maintained, maintained
from tests.waiting import in_thread, until
from worker.crypto import Keyring, Place, Undecipherable, new_key
from worker.database import Database
from worker.errors import Misconfigured
from worker.keys import check_keys
from worker.settings import Settings

OLD, NEW, BLIND = new_key(), new_key(), new_key()
BEFORE = Keyring.parse(f"old:{OLD}", BLIND)
COLUMNS = [str(column) for column in encrypted_columns()]
SECRET = "a secret"


@pytest.fixture
def settings(database: DatabaseUrls, redis_url: str) -> Settings:
    """The old key has made room for a new one."""
    return settings_for(database, redis_url, ENCRYPTION_KEYS=f"new:{NEW},old:{OLD}", BLIND_INDEX_KEY=BLIND)


@pytest.fixture
def keys(settings: Settings, db: Database, database: DatabaseUrls) -> Iterator[Maintained]:
    with maintained(settings, db, database, rotate) as keys:
        yield keys


def row(connection: psycopg.Connection, table: str) -> Any:
    """A row that the table's ciphertext can belong to; gives its key."""
    match table:
        case "license":
            return insert(connection, "license", state_code="TX")
        case "household_member_offer":
            driver = insert(connection, "driver", first_name="A")
            return insert(connection, "household_member_offer", id=uuid4(), driver_id=driver)
        case "integration_configuration":
            producer = insert(connection, "producer", producer_code=uuid4().hex[:20], name="P")
            return configuration(connection, configuration_level="producer", producer_id=producer)
        case "sso_providers":
            return insert(connection, "sso_providers", provider_name=uuid4().hex, provider_type="google", client_id="c")
        case "user_mfa_settings":
            user = insert(connection, "users", email=f"{uuid4().hex}@example.org", first_name="A", last_name="B")
            connection.execute("INSERT INTO user_mfa_settings (user_id) VALUES (%s)", [user])
            return user
    raise AssertionError(f"{table} has ciphertext, and this test no row of it")


def key_column(table: str) -> str:
    return "user_id" if table == "user_mfa_settings" else "id"


def place(column: str, key: Any) -> Place:
    table, name = column.split(".")
    return Place(table, name, str(key), "client_secret" if name == "auth_config" else "")


def write(connection: psycopg.Connection, column: str, key: Any, ciphertext: str) -> None:
    table, name = column.split(".")
    value = Jsonb({"client_id": "c", "client_secret": {"$enc": ciphertext}}) if name == "auth_config" else ciphertext
    statement = sql.SQL("UPDATE {} SET {} = %s WHERE {} = %s").format(
        sql.Identifier(table), sql.Identifier(name), sql.Identifier(key_column(table))
    )
    connection.execute(statement, [value, key])


def read(connection: psycopg.Connection, column: str, key: Any) -> str:
    table, name = column.split(".")
    query = "SELECT ciphertext FROM encrypted_values WHERE (table_name, column_name, row_key) = (%s, %s, %s)"
    found: str = only(connection, query, table, name, str(key))
    return found


def sealed(connection: psycopg.Connection, column: str, keyring: Keyring = BEFORE) -> Any:
    key = row(connection, column.split(".")[0])
    write(connection, column, key, keyring.encrypt(SECRET, place(column, key)))
    return key


def swapped(ciphertext: str, other: str) -> str:
    return other


def flipped(ciphertext: str, _: str) -> str:
    head, encoded = ciphertext.rsplit(":", 1)
    raw = bytearray(base64.urlsafe_b64decode(encoded))
    raw[-1] ^= 1
    return f"{head}:{base64.urlsafe_b64encode(bytes(raw)).decode()}"


def truncated(ciphertext: str, _: str) -> str:
    return ciphertext[:-4]


def of_another_key(ciphertext: str, _: str) -> str:
    return ciphertext.replace(":old:", ":new:")


def test_the_view_finds_every_column_that_is_declared_encrypted(keys: Maintained) -> None:
    for column in COLUMNS:
        sealed(keys.owner, column)
    found = keys.owner.execute("SELECT table_name || '.' || column_name, key_id FROM encrypted_values").fetchall()
    assert sorted(found) == sorted((column, "old") for column in COLUMNS)
    samples = keys.owner.execute("SELECT table_name || '.' || column_name FROM encryption_keys_in_use").fetchall()
    assert sorted(samples) == sorted((column,) for column in COLUMNS)


def test_everything_is_encrypted_anew_and_still_says_the_same(keys: Maintained) -> None:
    rows = [(column, sealed(keys.owner, column)) for column in COLUMNS for _ in range(2)]
    assert keys.run(dry_run=True)["progress"]["counts"] == {column: {"encrypted anew": 2} for column in COLUMNS}
    assert all(":old:" in read(keys.owner, *one) for one in rows)
    done = keys.run()
    assert (done["state"], done["progress"]["done"]) == ("done", 2 * len(COLUMNS))
    after = Keyring.parse(f"new:{NEW}", BLIND)
    assert [after.decrypt(read(keys.owner, *one), place(*one)) for one in rows] == [SECRET] * len(rows)
    assert keys.run()["progress"]["done"] == 0
    assert only(keys.owner, "SELECT DISTINCT auth_config ->> 'client_id' FROM integration_configuration") == "c"


@pytest.mark.parametrize("damage", [swapped, flipped, truncated, of_another_key])
def test_what_is_damaged_is_counted_and_left_as_it_is(damage: Any, keys: Maintained) -> None:
    after = Keyring.parse(f"new:{NEW},old:{OLD}", BLIND)
    damaged = []
    for column in COLUMNS:
        key, other = sealed(keys.owner, column), sealed(keys.owner, column)
        bad = damage(read(keys.owner, column, key), read(keys.owner, column, other))
        write(keys.owner, column, key, bad)
        damaged.append((column, key, bad))
        with pytest.raises(Undecipherable):
            after.decrypt(bad, place(column, key))
    counts = keys.run()["progress"]["counts"]
    if damage is of_another_key:  # it claims to be new already, so nobody looks at it but its reader
        assert all(counts[column] == {"encrypted anew": 1} for column in COLUMNS)
    else:
        assert all(counts[column] == {"encrypted anew": 1, "unreadable": 1} for column in COLUMNS)
    assert [read(keys.owner, column, key) for column, key, _ in damaged] == [bad for _, _, bad in damaged]


@pytest.mark.parametrize("column", COLUMNS)
def test_a_worker_with_keys_that_cannot_read_the_rows_does_not_start(
    column: str, keys: Maintained, settings: Settings
) -> None:
    sealed(keys.owner, column)
    check_keys(keys.db, Keyring.of(settings))
    with pytest.raises(Misconfigured, match=f"{column.split('.')[0]}.*key old, which is not in ENCRYPTION_KEYS"):
        check_keys(keys.db, Keyring.parse(f"new:{NEW}", BLIND))
    with pytest.raises(Misconfigured, match="or was written for another place or key"):
        check_keys(keys.db, Keyring.parse(f"old:{NEW}", BLIND))


def test_a_key_that_is_missing_is_named_and_the_rest_is_done(keys: Maintained) -> None:
    sealed(keys.owner, "license.license_number")
    sealed(keys.owner, "license.license_number", Keyring.parse(f"lost:{new_key()}", BLIND))
    done = keys.run()
    assert (done["state"], done["error_code"]) == ("failed", "missing_key")
    assert "1 values of license.license_number need key lost" in done["error_message"]
    assert done["progress"]["counts"]["license.license_number"] == {"encrypted anew": 1, "unreadable": 1}


def test_a_value_that_changes_meanwhile_keeps_its_change(keys: Maintained) -> None:
    column = "license.license_number"
    key = sealed(keys.owner, column)
    theirs = BEFORE.encrypt("another number", place(column, key))
    with psycopg.connect(keys.urls.app_url) as writer:
        writer.execute("UPDATE license SET license_number = %s WHERE id = %s", [theirs, key])
        run = in_thread(keys.run)  # has read the old value, and waits for the writer
        until(lambda: only(keys.owner, "SELECT count(*) FROM pg_locks WHERE NOT granted") > 0)
        writer.commit()
        assert run()["progress"]["counts"][column] == {"changed meanwhile": 1}
    assert read(keys.owner, column, key) == theirs
    keys.run()
    assert ":new:" in read(keys.owner, column, key)


def test_a_run_that_breaks_off_is_taken_up_where_it_was(keys: Maintained) -> None:
    column = "license.license_number"
    rows = [sealed(keys.owner, column) for _ in range(3)]
    keys.owner.execute(
        sql.SQL(
            "ALTER TABLE license ADD CONSTRAINT crash CHECK (id <> {} OR license_number NOT LIKE '%:new:%')"
        ).format(rows[2])
    )
    for key in rows[:2]:
        write(keys.owner, column, key, Keyring.parse(f"new:{NEW}", BLIND).encrypt(SECRET, place(column, key)))
    job_id = keys.ask()
    keys.engine.begin(keys.kind, [job_id])
    keys.engine.drain()
    assert [":new:" in read(keys.owner, column, key) for key in rows] == [True, True, False]
    keys.owner.execute("ALTER TABLE license DROP CONSTRAINT crash")
    keys.run()
    assert all(":new:" in read(keys.owner, column, key) for key in rows)
