"""The one door to PostgreSQL: a pool of connections for one process, opened after the fork.

Sessions run in UTC, with a statement timeout so that no statement outlives a lease, and errors never carry parameters.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError, TimeoutError

from worker.errors import Misconfigured
from worker.settings import DatabaseSettings

_NOT_MIGRATED = ("42P01", "42883")  # undefined table, undefined function
AFTER_COMMIT = "after_commit"


class Database:
    """Connections of the application's role. Threads may share it; processes may not."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self.engine: Engine = create_engine(
            settings.application_url,
            pool_size=settings.database_pool_size,
            max_overflow=0,
            pool_timeout=30,
            pool_pre_ping=False,  # a broken connection is met by `is_outage`, and costs no round trip each time
            hide_parameters=True,
            connect_args={
                "connect_timeout": 5,
                "application_name": "integration-worker",
                "options": "-c timezone=UTC -c statement_timeout=20s -c lock_timeout=10s"
                " -c idle_in_transaction_session_timeout=20s"
                # What jobs read is in memory or on an SSD, and a batch has a handful of rows: by PostgreSQL's default,
                # which is for disks that seek, tables of some thousand rows would be read whole for it.
                " -c random_page_cost=1.1",
            },
        )
        event.listen(self.engine, "handle_error", _hide_values)
        event.listen(self.engine, "handle_error", _leave_standby)
        self._autocommit = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection in a transaction: committed at the end, rolled back by an exception."""
        actions: list[Callable[[], None]] = []
        with self.engine.begin() as connection:
            yield connection.execution_options(**{AFTER_COMMIT: actions})
        for action in actions:
            action()

    @contextmanager
    def single_statements(self) -> Iterator[Connection]:
        """A connection on which each statement is a transaction of its own: one round trip, where one in a transaction
        takes three."""
        actions: list[Callable[[], None]] = []
        with self._autocommit.connect() as connection:
            yield connection.execution_options(**{AFTER_COMMIT: actions})
        for action in actions:
            action()

    def close(self) -> None:
        self.engine.dispose()


def _hide_values(context: ExceptionContext) -> None:
    """Take out of an error what PostgreSQL quotes of a row: DETAIL and CONTEXT, and what a bad value looked like."""
    error = context.original_exception
    if not isinstance(error, psycopg.Error) or not error.sqlstate:
        return
    said = type(error).__name__ if error.sqlstate.startswith("22") else (error.diag.message_primary or "")
    error.args = (said,)
    if context.sqlalchemy_exception is not None:
        context.sqlalchemy_exception.args = (f"(psycopg.errors.{type(error).__name__}) {said}",)


def _leave_standby(context: ExceptionContext) -> None:
    """After a failover the server at the other end may be a standby: let go of all connections, and look anew."""
    if isinstance(context.original_exception, psycopg.errors.ReadOnlySqlTransaction):
        context.is_disconnect = True


def after_commit(connection: Connection, action: Callable[[], None]) -> bool:
    """Have `action` called once the transaction has committed; False if it was not begun by `Database.transaction`."""
    actions = actions_after_commit(connection)
    if actions is not None:
        actions.append(action)
    return actions is not None


def actions_after_commit(connection: Connection) -> list[Callable[[], None]] | None:
    """What is to be called once the transaction has committed; None if `Database.transaction` did not begin it."""
    actions: list[Callable[[], None]] | None = connection.get_execution_options().get(AFTER_COMMIT)
    return actions


DATABASE_ERRORS = (DBAPIError, TimeoutError)
"""What a transaction may raise when the database is away, or when the pool has no connection left."""


def is_outage(error: BaseException) -> bool:
    """Whether the database was away or refused for a moment, so that the same transaction may be tried again."""
    if isinstance(error, TimeoutError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = sqlstate(error) or ""
    # 08: connection · 53: no resources · 40: serialization, deadlock · 55P03: lock timeout · 57P: shutting down.
    # 25006: a standby after a failover, or a server that is kept from writing for a while.
    # 57014, a statement that took too long, is not among them: it would take too long again.
    return (
        error.connection_invalidated
        or (isinstance(error, OperationalError) and not state)
        or state[:2] in ("08", "53", "40")
        or state[:3] == "57P"
        or state in ("55P03", "25006")
    )


def is_undone(error: DBAPIError) -> bool:
    """Whether the server itself refused the statement, so that nothing of it can have been kept. A connection that
    breaks leaves that open."""
    state = sqlstate(error)
    return state is not None and not error.connection_invalidated and not state.startswith(("08", "57P"))


def sqlstate(error: DBAPIError) -> str | None:
    """The five characters PostgreSQL gave the error, if it was PostgreSQL that spoke."""
    original: Any = error.orig
    return getattr(original, "sqlstate", None)


@contextmanager
def reaching(purpose: str) -> Iterator[None]:
    """Raise `Misconfigured` instead of a traceback where the database does not answer or was not migrated."""
    try:
        yield
    except OperationalError as error:
        # The driver's message names host, port and role, and never the password.
        reason = str(error.orig).strip().splitlines()[0]
        raise Misconfigured(f"cannot {purpose}: the database does not answer ({reason})") from None
    except ProgrammingError as error:
        if sqlstate(error) not in _NOT_MIGRATED:
            raise
        raise Misconfigured(f"cannot {purpose}: the database is not up to date, run `worker migrate` first") from None
