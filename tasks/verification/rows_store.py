"""Changes of any number of rows: each takes them as one JSON document, and several go to PostgreSQL as one statement.

However little it changes, a statement costs a round trip and work on both sides: for the handful of jobs that end at
one moment, as much as the changes themselves.
"""

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

import orjson
from sqlalchemy import Connection, CursorResult, TextClause, text

from models.users import SYSTEM_USER_ID

Rows = Collection[object]
"""What orjson knows as objects: mappings, or dataclasses."""


@dataclass(frozen=True, slots=True)
class Change:
    """An INSERT or UPDATE that reads its rows from the document `:<name>`; `:user` is who makes it.

    The changes of one statement see the tables as they were before it, and none may touch a row of another. They are
    made in any order, except that one whose SQL has the condition `{turn}` comes after the change before it.
    """

    name: str
    sql: str


def execute(connection: Connection, *changes: tuple[Change, Rows], asking: str = "SELECT") -> CursorResult[Any] | None:
    """Make the changes in one statement; those without rows are left out. Gives the result of the query `asking`, which
    sees the tables as they were before; None if nothing was to be done.

    Arrays, one a column, would be the plainer form of rows; psycopg quotes their elements in Python, which took a fifth
    of a worker's CPU.
    """
    given = [(change, rows) for change, rows in changes if rows]
    if not given:
        return None
    documents = {change.name: orjson.dumps(list(rows), default=_plain).decode() for change, rows in given}
    statement = _statement(tuple(change for change, _ in given), asking)
    return connection.execute(statement, {"user": SYSTEM_USER_ID, **documents})


@cache
def _statement(changes: tuple[Change, ...], asking: str = "SELECT") -> TextClause:
    parts, turn = [], "true"
    for change in changes:
        parts.append(f"{change.name} AS ({change.sql.replace('{turn}', turn)} RETURNING 1)")
        # To count what a change returns, it has to be made as a whole.
        turn = f"(SELECT count(*) FROM {change.name}) >= 0"  # noqa: S608 - names of ours
    return text(f"WITH {', '.join(parts)} {asking}")


def _plain(value: object) -> str:
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in a row")
