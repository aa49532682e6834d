"""Statements that take any number of rows as one JSON document."""

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

import orjson
from sqlalchemy import Connection, TextClause

from models.users import SYSTEM_USER_ID


def execute(connection: Connection, statement: TextClause, rows: Collection[Mapping[str, Any]]) -> None:
    """Run a statement with `:rows`, the document, and `:user`; nothing for no rows.

    Arrays, one a column, would be the plainer form; psycopg quotes their elements in Python, which took a fifth of a
    worker's CPU.
    """
    if rows:
        document = orjson.dumps(list(rows), default=_plain).decode()
        connection.execute(statement, {"user": SYSTEM_USER_ID, "rows": document})


def _plain(value: object) -> str:
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in a row")
