"""One transaction for a command of an operator, and the name under which it is done."""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from models.users import SYSTEM_USER_ID
from worker.cli.duration import parse_duration
from worker.database import Database, reaching
from worker.errors import BadRequest
from worker.permissions import Actor
from worker.settings import load_settings


@contextmanager
def transaction(purpose: str, *, by: str | None = None) -> Iterator[Connection]:
    """A transaction on the database of the settings, committed at the end. Raises `Misconfigured` if it is away.

    What its statements change in the configuration is in the audit trail under the name `by`, or that of the operating
    system's user (trigger `audit_change`).
    """
    database = Database(load_settings())
    try:
        with reaching(purpose), database.transaction() as connection:
            connection.execute(_ACTOR, {"by": by or _user() or ""})
            yield connection
    finally:
        database.close()


def acting(as_: UUID | None) -> Actor:
    """With whose rights something is done: those of a user, or the platform's own. The database's password is the key
    to everything anyway; `as_` is for those who want to be held to their rights.
    """
    return Actor(as_ or SYSTEM_USER_ID)


def actor(by: str | None) -> str:
    """The name given, or that of the operating system's user. Raises `BadRequest` where there is neither."""
    if by is None and (by := _user()) is None:
        raise BadRequest("no_name", "this user has no name here: say who you are with --by")
    if not by.strip():
        raise BadRequest("no_name", "say who you are: --by must not be empty")
    return by.strip()


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name: Python 3.13 says OSError
        return None


_ACTOR = text("SELECT set_config('worker.actor', :by, true)")


def ago(connection: Connection, length: str | None) -> datetime | None:
    """The moment that lies `length` (`2h`) back, by the database's clock. Raises `BadRequest`."""
    return _moment(connection, length, -1)


def ahead(connection: Connection, length: str | None) -> datetime | None:
    """The moment that lies `length` ahead, by the database's clock. Raises `BadRequest`."""
    return _moment(connection, length, 1)


def _moment(connection: Connection, length: str | None, sign: int) -> datetime | None:
    if length is None:
        return None
    moment: datetime = connection.execute(
        text("SELECT now() + :length"), {"length": sign * parse_duration(length)}
    ).scalar_one()
    return moment
