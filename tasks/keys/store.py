"""The SQL of the keys job: a pass over each encrypted column, which changes a value only if nobody else has.

Names of tables and columns come from the models.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Column, Connection, text
from sqlalchemy.dialects.postgresql import JSONB

from models import Base
from models.facts import is_encrypted
from worker.crypto import Keyring, Place, Undecipherable
from worker.maintenance.order import Order
from worker.maintenance.stages import Batch, Plan, Problem

SECRET = "$enc"  # noqa: S105 - the key of a leaf that holds one


def plan(connection: Connection, _order: Order, keyring: Keyring) -> Plan:
    """A stage for each encrypted column; what the keys can't read is told before anything is changed."""
    problems = [
        Problem("missing_key", f"{row.values} values of {row.place} need key {row.key_id}, which is not set.")
        for row in connection.execute(_KEYS)
        if row.key_id and not keyring.holds(row.key_id)
    ]  # fmt: skip
    return Plan([EncryptedColumn(column, keyring) for column in encrypted_columns()], problems)


_KEYS = text(
    """
    SELECT key_id, table_name || '.' || column_name AS place, count(*) AS values FROM encrypted_values
    GROUP BY 1, 2 ORDER BY 1, 2
    """
)


def encrypted_columns() -> list[Column[Any]]:
    return [
        column for table in Base.metadata.sorted_tables for column in table.columns if is_encrypted(column)
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class EncryptedColumn:
    """One column. A value that can't be read stays as it is and is counted: a damaged one may be in a backup."""

    column: Column[Any]
    keyring: Keyring
    most: int = 1000

    @property
    def name(self) -> str:
        return f"{self.column.table.name}.{self.column.name}"

    def size(self, connection: Connection) -> int:
        values = {"table": self.column.table.name, "column": self.column.name, "primary": self.keyring.primary}
        return int(connection.execute(_SIZE, values).scalar_one())

    def batch(self, connection: Connection, after: Any, limit: int) -> Batch:
        rows = connection.execute(text(self._take()), {"after": after, "limit": limit, **self._values()}).all()
        changes, unreadable = [], 0
        for row in rows:
            try:
                changes.append({"key": str(row.key), "old": row.value, "new": self._anew(str(row.key), row.value)})
            except Undecipherable:
                unreadable += 1
        written = 0
        if changes:
            written = connection.execute(text(self._write()), {"rows": orjson.dumps(changes).decode()}).rowcount
        counts = {
            "encrypted anew": written,
            "changed meanwhile": len(changes) - written,
            "unreadable": unreadable,
        }
        return Batch(
            len(rows),
            {name: number for name, number in counts.items() if number},
            after=rows[-1].key if len(rows) == limit else None,
        )

    def _anew(self, key: str, value: Any) -> Any:
        if not isinstance(value, dict):
            return self._sealed(key, "", value)
        return {path: self._leaf(key, path, leaf) for path, leaf in value.items()}

    def _leaf(self, key: str, path: str, leaf: Any) -> Any:
        is_secret = isinstance(leaf, Mapping) and isinstance(leaf.get(SECRET), str)
        return {**leaf, SECRET: self._sealed(key, path, leaf[SECRET])} if is_secret else leaf

    def _sealed(self, key: str, path: str, ciphertext: str) -> str:
        place = Place(self.column.table.name, self.column.name, key, path)
        return self.keyring.encrypt(self.keyring.decrypt(ciphertext, place), place)

    def _take(self) -> str:
        key, type_ = self._key()
        return f"""
            SELECT r.{key} AS key, r.{self.column.name} AS value FROM {self.column.table.name} AS r
            WHERE (CAST(:after AS {type_}) IS NULL OR r.{key} > CAST(:after AS {type_})) AND {self._is_old()}
            ORDER BY r.{key} LIMIT :limit
        """  # noqa: S608 - see above

    def _write(self) -> str:
        """No lock is waited for with values in hand: whoever was quicker has used the newer key, or comes next time."""
        key, type_ = self._key()
        column = self.column.name
        value_type = "jsonb" if isinstance(self.column.type, JSONB) else "text"
        return f"""
            UPDATE {self.column.table.name} AS r SET {column} = given.new
            FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (key {type_}, old {value_type}, new {value_type})
            WHERE r.{key} = given.key AND r.{column} = given.old
        """  # noqa: S608 - see above

    def _is_old(self) -> str:
        if isinstance(self.column.type, JSONB):
            return f"""EXISTS (SELECT FROM jsonb_each(r.{self.column.name}) AS leaf
                               WHERE split_part(leaf.value ->> '$enc', ':', 3) <> :primary)"""
        return f"split_part(r.{self.column.name}, ':', 3) <> :primary"

    def _values(self) -> dict[str, str]:
        return {"primary": self.keyring.primary}

    def _key(self) -> tuple[str, str]:
        (key,) = self.column.table.primary_key.columns
        return key.name, "bigint" if key.type.python_type is int else "uuid"


_SIZE = text(
    """
    SELECT count(*) FROM encrypted_values
    WHERE table_name = :table AND column_name = :column AND key_id <> :primary
    """
)
