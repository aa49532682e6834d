"""Rows for these tests: insert what a test is about, fill in the audit columns that every such table asks for."""

from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from models import Base
from models.users import SYSTEM_USER_ID


def insert(connection: psycopg.Connection, table: str, **values: Any) -> Any:
    """Insert one row and return its id. Dictionaries and lists become JSON."""
    columns = Base.metadata.tables[table].columns
    if "status_id" in columns:
        [values["status_id"]] = connection.execute("SELECT id FROM status WHERE code = 'ACTIVE'").fetchone() or [None]
    if "created_by" in columns:
        values.setdefault("created_by", SYSTEM_USER_ID)
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING id").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.SQL(", ").join(sql.Placeholder() * len(values)),
    )
    row = connection.execute(
        statement, [Jsonb(value) if isinstance(value, dict | list) else value for value in values.values()]
    ).fetchone()
    assert row is not None
    return row[0]


def only(connection: psycopg.Connection, query: str, *parameters: Any) -> Any:
    """The one value of a query that gives one row of one column."""
    [(value,)] = connection.execute(query, parameters).fetchall()
    return value


def integration(connection: psycopg.Connection, code: str = "DCS_HOUSEHOLD_DRIVERS") -> int:
    found: int = only(connection, "SELECT id FROM third_party_integration WHERE code = %s", code)
    return found


def configuration(connection: psycopg.Connection, **values: Any) -> Any:
    defaults = {
        "integration_id": integration(connection),
        "configuration_level": "system",
        "endpoint_url": "https://provider.example",
        "auth_config": {},
    }
    return insert(connection, "integration_configuration", **defaults | values)


def request(connection: psycopg.Connection, **values: Any) -> Any:
    defaults = {
        "integration_id": integration(connection),
        "user_id": SYSTEM_USER_ID,
        "endpoint": "/drivers",
        "correlation_id": "c-1",
    }
    if "configuration_id" not in values:
        values["configuration_id"] = configuration(connection)
    return insert(connection, "integration_request", **defaults | values)
