"""The door to PostgreSQL: what counts as an outage, what sessions look like, what errors say, what follows a commit."""

import socket
from collections.abc import Callable, Iterator

import psycopg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from tests.conftest import DatabaseUrls, settings_for
from tests.waiting import in_thread, until
from worker.database import Database, after_commit, is_outage, sqlstate
from worker.dev.embedded import EmbeddedServers
from worker.settings import Settings

PERSON = "Ada Canary"


@pytest.fixture
def owner(database: DatabaseUrls) -> Iterator[psycopg.Connection]:
    """The owning role, with a table of two rows for the test."""
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE thing (id integer PRIMARY KEY, name varchar(10) UNIQUE, CHECK (id > 0))")
        connection.execute("INSERT INTO thing VALUES (1, 'one'), (2, 'two')")
        connection.execute("GRANT ALL ON thing TO PUBLIC")
        yield connection


@pytest.fixture
def watcher(database: DatabaseUrls, owner: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """Another session of the application's role, which sees what its sessions wait for and may end them."""
    with psycopg.connect(database.app_url, autocommit=True) as connection:
        yield connection


def failure(action: Callable[[], object]) -> DBAPIError:
    with pytest.raises(DBAPIError) as failed:
        action()
    return failed.value


def lock(connection: Connection, thing: int) -> None:
    connection.execute(text("SELECT * FROM thing WHERE id = :id FOR UPDATE"), {"id": thing})


WAITING = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def pid_of_waiter(watcher: psycopg.Connection) -> int:
    """Wait until some session waits for a lock."""
    (found,) = until(lambda: watcher.execute(WAITING).fetchone()) or (0,)
    return int(found)


def pid(connection: Connection) -> int:
    number: int = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    return number


def is_gone(watcher: psycopg.Connection, backend: int) -> bool:
    return watcher.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [backend]).fetchone() is None


def test_a_killed_session_is_an_outage_and_the_next_one_works(db: Database, watcher: psycopg.Connection) -> None:
    def interrupted() -> None:
        with db.transaction() as connection:
            backend = pid(connection)
            watcher.execute("SELECT pg_terminate_backend(%s, 5000)", [backend])
            connection.execute(text("SELECT 1"))

    assert is_outage(failure(interrupted))
    with db.transaction() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1


def test_a_session_killed_in_the_middle_of_its_statement_is_an_outage(
    db: Database, watcher: psycopg.Connection
) -> None:
    with db.transaction() as holder:
        lock(holder, 1)

        def interrupted() -> None:
            with db.transaction() as connection:
                lock(connection, 1)

        failed = in_thread(lambda: failure(interrupted))
        watcher.execute("SELECT pg_terminate_backend(%s)", [pid_of_waiter(watcher)])
        error = failed()
    assert (sqlstate(error), is_outage(error)) == ("57P01", True)


def test_a_session_that_idled_too_long_in_its_transaction_is_an_outage(
    db: Database, watcher: psycopg.Connection
) -> None:
    def idle() -> None:
        with db.transaction() as connection:
            backend = pid(connection)
            connection.execute(text("SET idle_in_transaction_session_timeout = '10ms'"))
            until(lambda: is_gone(watcher, backend))
            connection.execute(text("SELECT 1"))

    assert is_outage(failure(idle))


def test_a_lock_that_was_not_given_in_time_is_an_outage(db: Database, owner: psycopg.Connection) -> None:
    with db.transaction() as holder:
        lock(holder, 1)

        def impatient() -> None:
            with db.transaction() as connection:
                connection.execute(text("SET LOCAL lock_timeout = '10ms'"))
                lock(connection, 1)

        error = failure(impatient)
    assert (sqlstate(error), is_outage(error)) == ("55P03", True)


def test_the_victim_of_a_deadlock_may_try_again(db: Database, watcher: psycopg.Connection) -> None:
    """One of the two is chosen as the victim; the other gets its lock."""

    def cross(connection: Connection, thing: int) -> DBAPIError | None:
        try:
            lock(connection, thing)
        except DBAPIError as error:
            connection.rollback()
            return error
        return None

    with db.engine.connect() as here, db.engine.connect() as there:
        lock(here, 1)
        lock(there, 2)
        waiting = in_thread(lambda: cross(there, 1))
        pid_of_waiter(watcher)
        mine = cross(here, 2)
        here.rollback()
        (error,) = [error for error in (mine, waiting()) if error is not None]
    assert (sqlstate(error), is_outage(error)) == ("40P01", True)


def test_a_serialization_failure_is_an_outage(db: Database, owner: psycopg.Connection) -> None:
    def outdated() -> None:
        with db.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            connection.execute(text("SELECT * FROM thing"))
            owner.execute("UPDATE thing SET name = 'uno' WHERE id = 1")
            connection.execute(text("UPDATE thing SET name = 'eins' WHERE id = 1"))

    error = failure(outdated)
    assert (sqlstate(error), is_outage(error)) == ("40001", True)


def test_a_server_that_is_away_is_an_outage(database: DatabaseUrls, redis_url: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"postgresql://app@127.0.0.1:{nobody.getsockname()[1]}/platform"
        away = Database(settings_for(database, redis_url, DATABASE_URL=url))
        error = failure(away.engine.connect)
    assert (sqlstate(error), is_outage(error)) == (None, True)


@pytest.mark.parametrize(
    ("statement", "state"),
    [
        ("SET LOCAL statement_timeout = '10ms'; SELECT pg_sleep(60)", "57014"),
        ("INSERT INTO thing VALUES (1, 'again')", "23505"),
        ("INSERT INTO thing VALUES (-1, 'minus')", "23514"),
        ("INSERT INTO job_event (job_id, event, attempt, fence) VALUES (gen_random_uuid(), 'failed', 0, 0)", "23503"),
        ("SELECT 1 / 0", "22012"),
        ("SELECT nothing FROM thing", "42703"),
        ("CREATE TABLE mine (id integer)", "42501"),
    ],
)
def test_what_would_fail_again_is_no_outage(
    db: Database, owner: psycopg.Connection, statement: str, state: str
) -> None:
    def wrong() -> None:
        with db.transaction() as connection:
            for part in statement.split("; "):
                connection.execute(text(part))

    error = failure(wrong)
    assert (sqlstate(error), is_outage(error)) == (state, False)


def test_a_server_that_became_a_standby_is_an_outage_and_is_left(
    database: DatabaseUrls, servers: EmbeddedServers, db: Database, owner: psycopg.Connection
) -> None:
    def write() -> None:
        with db.transaction() as connection:
            connection.execute(text("UPDATE thing SET name = 'new' WHERE id = 1"))

    with psycopg.connect(servers.admin_database_url, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
        db.close()
        assert is_outage(failure(write))
        admin.execute(f"ALTER DATABASE {database.name} RESET default_transaction_read_only")
    write()


@pytest.mark.parametrize("error", [ConnectionError(), TimeoutError(), ValueError(), psycopg.OperationalError()])
def test_errors_of_others_are_no_outage_of_the_database(error: Exception) -> None:
    assert not is_outage(error)


def test_sessions_live_in_utc_and_no_statement_outlives_a_lease(db: Database, settings: Settings) -> None:
    with db.transaction() as connection:
        shown = {
            name: connection.execute(text(f"SHOW {name}")).scalar_one()
            for name in ("timezone", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        }
        now = connection.execute(text("SELECT now()")).scalar_one()
    assert shown == {
        "timezone": "UTC",
        "statement_timeout": "20s",
        "lock_timeout": "10s",
        "idle_in_transaction_session_timeout": "20s",
    }
    assert now.utcoffset().total_seconds() == 0
    assert settings.lease_s > 20


def test_no_more_connections_than_the_pool_may_have(db: Database, settings: Settings) -> None:
    assert db.engine.pool.size() == settings.database_pool_size  # type: ignore[attr-defined]  # of QueuePool
    assert db.engine.pool._max_overflow == 0  # type: ignore[attr-defined]  # QueuePool has no public name for it


FAILING = [
    ("SELECT nothing FROM thing WHERE name = :person", "unknown column"),
    ("INSERT INTO thing VALUES (3, :person), (4, :person)", "unique key"),
    ("INSERT INTO thing VALUES (-1, :person)", "check"),
    ("INSERT INTO thing VALUES (NULL, :person)", "not null"),
    ("SELECT CAST(CAST(:person AS text) AS integer)", "cast"),
]


@pytest.mark.parametrize(("statement", "what"), FAILING, ids=[what for _, what in FAILING])
def test_an_error_said_what_postgresql_had_quoted_of_a_row(
    db: Database, owner: psycopg.Connection, statement: str, what: str
) -> None:
    def wrong() -> None:
        with db.transaction() as connection:
            connection.execute(text(statement), {"person": PERSON})

    error = failure(wrong)
    assert PERSON not in str(error)
    assert PERSON not in repr(error)
    assert PERSON not in str(error.orig)


def test_actions_run_after_the_commit_in_their_order(db: Database, owner: psycopg.Connection) -> None:
    seen: list[object] = []

    def look(turn: int) -> None:
        row = owner.execute("SELECT name FROM thing WHERE id = 1").fetchone()
        seen.append((turn, row))

    with db.transaction() as connection:
        assert after_commit(connection, lambda: look(1))
        connection.execute(text("UPDATE thing SET name = 'new' WHERE id = 1"))
        assert after_commit(connection, lambda: look(2))
        assert seen == []
    assert seen == [(1, ("new",)), (2, ("new",))]


def test_actions_of_a_transaction_that_failed_never_run(db: Database) -> None:
    seen: list[int] = []

    def fail() -> None:
        with db.transaction() as connection:
            after_commit(connection, lambda: seen.append(1))
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        fail()
    with db.transaction() as connection:
        after_commit(connection, lambda: seen.append(2))
    assert seen == [2], "nor do they wait for the next transaction on that connection"


def test_actions_of_a_transaction_whose_commit_failed_never_run(db: Database, owner: psycopg.Connection) -> None:
    owner.execute("ALTER TABLE thing ADD CONSTRAINT later UNIQUE (name) DEFERRABLE INITIALLY DEFERRED")
    owner.execute("ALTER TABLE thing DROP CONSTRAINT thing_name_key")
    seen: list[int] = []

    def fail_at_commit() -> None:
        with db.transaction() as connection:
            after_commit(connection, lambda: seen.append(1))
            connection.execute(text("UPDATE thing SET name = 'same'"))

    assert sqlstate(failure(fail_at_commit)) == "23505"
    assert seen == []


def test_a_connection_that_others_began_takes_no_actions(db: Database) -> None:
    with db.engine.begin() as connection:
        assert not after_commit(connection, lambda: None)


def test_a_transaction_is_rolled_back_by_an_exception(db: Database, owner: psycopg.Connection) -> None:
    def fail() -> None:
        with db.transaction() as connection:
            connection.execute(text("DELETE FROM thing"))
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        fail()
    assert owner.execute("SELECT count(*) FROM thing").fetchone() == (2,)
