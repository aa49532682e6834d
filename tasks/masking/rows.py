"""A row's personal values: which they are, what becomes of them, and how they are written back."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Connection, String
from sqlalchemy.dialects.postgresql import JSONB

from models import Base
from models.facts import is_encrypted, personal_columns
from tasks.masking.documents import Masker
from tasks.masking.exact_json import dump
from tasks.masking.operators import is_masked
from worker.maintenance.stages import Batch

# Hashes find rows, ciphertext is read with a key: neither is personal data to whoever has only the table.
_LEFT_ALONE = ("credential",)


def masked_columns(table: str) -> list[str]:
    """The personal columns that masking changes."""
    return [
        name for name, data_class in personal_columns(Base.metadata.tables[table]).items()
        if data_class not in _LEFT_ALONE
    ]  # fmt: skip


def masked(masker: Masker, table: str, row: Any) -> dict[str, Any]:
    """What the row will hold: its id, and every column that masking changes."""
    columns = Base.metadata.tables[table].columns
    values = row._mapping
    changed: dict[str, Any] = {"id": str(row.id)}
    for name in masked_columns(table):
        value = values[name]
        if value is None or is_encrypted(columns[name]) or name.endswith("_bidx"):
            changed[name] = None  # what is sealed has no form to keep, nor has what it is found by
        elif isinstance(columns[name].type, JSONB):
            changed[name] = masker.stored(value)
        else:
            changed[name] = _fitting(columns[name], masker.field(name, value))
    return changed


def _fitting(column: Column[Any], value: Any) -> Any:
    """A day or an address that was replaced by a word is none any more."""
    return value if isinstance(column.type, String) or not is_masked(value) else None


def write(connection: Connection, statement: Any, rows: Sequence[dict[str, Any]], version: int) -> None:
    if rows:
        connection.execute(statement, {"rows": dump(rows), "version": version})


def told(came: int, counts: Mapping[str, int], by_rule: Mapping[str, int], last: Any, limit: int) -> Batch:
    """A batch of `came` rows, of which `last` was the last, with what was done to how many."""
    said = {name: number for name, number in {**counts, **by_rule}.items() if number}
    return Batch(came, said, after=(last.at, last.id) if came == limit else None)
