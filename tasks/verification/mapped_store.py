"""Columns that field mappings bring up to date, beside those that the verification itself decides.

Which columns these can be, the models say (`MAPPABLE`): the statements are made of their names once, at the import, and
no name from a row ever comes into one.
"""

from collections.abc import Mapping

from sqlalchemy import Connection, Table

from models import Base
from models.facts import is_mappable
from tasks.verification.rows_store import Change, execute

Changes = Mapping[int, Mapping[str, str | int]]
"""Values by column, for the ids of a table's rows."""


def save_mapped(connection: Connection, table: str, changes: Changes) -> None:
    """Write what the mappings gave; a column that is not named keeps its value, a row without a change its own time."""
    execute(connection, (_CHANGES[table], [{"id": id_, "data": dict(data)} for id_, data in changes.items() if data]))


def _change(table: Table) -> Change:
    columns = [column for column in table.columns if is_mappable(column)]
    settings = ", ".join(
        f"{column.name} = CASE WHEN given.data ? '{column.name}'"
        f" THEN CAST(given.data ->> '{column.name}' AS {column.type.compile()}) ELSE {table.name}.{column.name} END"
        for column in columns
    )
    return Change(
        "mapped",
        f"""
        WITH given AS (
            SELECT * FROM jsonb_to_recordset(CAST(:mapped AS jsonb)) AS given (id bigint, data jsonb)
        ), locked AS (
            SELECT id FROM {table.name} WHERE id = ANY(ARRAY(SELECT id FROM given)) ORDER BY id FOR NO KEY UPDATE
        )
        UPDATE {table.name} SET {settings}, updated_by = :user
        FROM given
        WHERE {table.name}.id = given.id AND {table.name}.id = ANY(ARRAY(SELECT id FROM locked))
          AND NOT to_jsonb({table.name}) @> given.data
        """,  # noqa: S608 - the models' own names
    )


_CHANGES = {table.name: _change(table) for table in Base.metadata.sorted_tables if any(map(is_mappable, table.columns))}
