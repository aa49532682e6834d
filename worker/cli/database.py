"""Errors of a database that is away, said in a sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import OperationalError, ProgrammingError

from worker.database import sqlstate
from worker.errors import Misconfigured

NOT_MIGRATED = ("42P01", "42883")  # undefined table, undefined function


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
        if sqlstate(error) not in NOT_MIGRATED:
            raise
        raise Misconfigured(f"cannot {purpose}: the database is not up to date, run `worker migrate` first") from None
