"""Words for facts about tables and columns: what is personal, how long it is kept, what it is split by.

A fact is declared once, in `info=` of the table or column, and read from the metadata by every job that needs it.
Each table says how long it is kept and each text, JSON or network column whether it is personal; a test finds the
silent ones.
"""

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Column, Table

from models.vocabularies import DataClass

Info = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kept:
    """How long rows live. `days` count from the column `since`; None means there is no day on which they must go.

    These are the defaults that the migrations load into `data_retention_policies`; the rows there have the last word.
    `with_table` names the table whose rows they leave with.
    """

    why: str
    days: int | None = None
    since: str | None = None
    mask_after_days: int | None = None
    with_table: str | None = None


@dataclass(frozen=True, slots=True)
class Partitioned:
    """Split by ranges of the column `by`; partitions are named `<table>_YYYY_MM`, bounds are midnight UTC."""

    by: str
    every: Literal["month"]


def kept(days: int, *, since: str, why: str, mask_after_days: int | None = None, with_table: str | None = None) -> Info:
    """Rows are deleted `days` after `since`; personal data in them is masked `mask_after_days` after it.

    Those of a table that belongs to another one wait until the row of `with_table` is overdue too.
    """
    return {"kept": Kept(why, days=days, since=since, mask_after_days=mask_after_days, with_table=with_table)}


def kept_while_used(why: str) -> Info:
    """Rows stay until somebody removes them on purpose."""
    return {"kept": Kept(why)}


def kept_with(table: str, *, leftovers_days: int | None = None) -> Info:
    """Rows leave together with the row of `table` they belong to.

    Those that were marked DELETED before leave `leftovers_days` after their last change, once nothing refers to them.
    """
    since = "updated_at" if leftovers_days is not None else None
    return {"kept": Kept(f"belongs to {table}", days=leftovers_days, since=since, with_table=table)}


def partitioned(*, by: str, every: Literal["month"]) -> Info:
    """The table is split by ranges of `by`."""
    return {"partitioned": Partitioned(by, every)}


def personal(data_class: DataClass) -> Info:
    """The column may hold personal or secret data of this class, which decides how it is masked."""
    return {"personal": data_class}


def encrypted(data_class: DataClass) -> Info:
    """The column holds ciphertext of personal or secret data: the text itself, or leaves `{"$enc": ...}` of a document.

    The view `encrypted_values` finds it, under the table's primary key.
    """
    return {"personal": data_class, "encrypted": True}


NOT_PERSONAL: Info = {"personal": None}
"""Looked at: codes, numbers of ours, amounts, rules. Nothing about a person."""

MAPPABLE: Info = {"mappable": True}
"""A field mapping may write the column. Not for what tells us who somebody is (birth date, licence and vehicle
numbers), nor for what a verification itself decides; the SQL function `mapping_targets` says the same."""


def retention_of(table: Table) -> Kept:
    """The table's `kept` fact; KeyError for a table that declares none."""
    fact: Kept = table.info["kept"]
    return fact


def partitioning_of(table: Table) -> Partitioned | None:
    """What the table is split by, if it is."""
    return table.info.get("partitioned")


def data_class_of(column: Column[Any]) -> DataClass | None:
    """The class of personal data the column may hold; None for a column without any."""
    return column.info.get("personal")


def is_mappable(column: Column[Any]) -> bool:
    """Whether a field mapping may write the column."""
    return bool(column.info.get("mappable"))


def is_encrypted(column: Column[Any]) -> bool:
    """Whether the column holds ciphertext."""
    return bool(column.info.get("encrypted"))


def personal_columns(table: Table) -> dict[str, DataClass]:
    """Personal columns of the table by name, in the table's order."""
    classes = ((column.name, data_class_of(column)) for column in table.columns)
    return {name: data_class for name, data_class in classes if data_class is not None}
