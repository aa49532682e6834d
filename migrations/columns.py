"""Columns and clauses that many tables of the first revisions share.

Constraints and indexes without a name get the one of the models' naming convention, which Alembic applies to `op`
too. Do not change a function that a released revision uses: it describes the past.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

Json = postgresql.JSONB
Inet = postgresql.INET
StateCode = postgresql.CHAR(2)
Hash = sa.String(64)
Instant = sa.DateTime(timezone=True)

EMPTY_OBJECT = sa.text("'{}'::jsonb")
EMPTY_LIST = sa.text("'[]'::jsonb")


def bigint_id() -> sa.Column[Any]:
    return sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True)


def uuid_id() -> sa.Column[Any]:
    return sa.Column("id", sa.Uuid, server_default=sa.func.gen_random_uuid(), primary_key=True)


def choice(name: str, *words: str, **options: Any) -> sa.Column[Any]:
    """A NOT NULL varchar with a CHECK of the same name; give `nullable=True` to allow no word at all."""
    type_ = sa.Enum(*words, name=name, native_enum=False, create_constraint=True, length=32)
    return sa.Column(name, type_, nullable=options.pop("nullable", False), **options)


def required(name: str, type_: Any, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, type_, nullable=False, **options)


def flag(name: str, default: bool, **options: Any) -> sa.Column[Any]:
    return required(name, sa.Boolean, server_default=sa.true() if default else sa.false(), **options)


def json_object(name: str) -> sa.Column[Any]:
    return required(name, Json, server_default=EMPTY_OBJECT)


def json_list(name: str) -> sa.Column[Any]:
    return required(name, Json, server_default=EMPTY_LIST)


def reference(
    target: str, name: str, type_: Any = sa.BigInteger, *, nullable: bool = False, ondelete: str | None = None
) -> sa.Column[Any]:
    """An indexed foreign key to the `id` of the table `target`."""
    key = sa.ForeignKey(f"{target}.id", ondelete=ondelete)
    return sa.Column(name, type_, key, nullable=nullable, index=True)


def user(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return reference("users", name, sa.Uuid, nullable=nullable)


def made_at(name: str = "created_at", **options: Any) -> sa.Column[Any]:
    return required(name, Instant, server_default=sa.func.now(), **options)


def timestamps() -> tuple[sa.Column[Any], ...]:
    return made_at(), made_at("updated_at")


def audit_columns() -> tuple[sa.Column[Any], ...]:
    return (
        reference("status", "status_id"),
        user("created_by"),
        user("updated_by", nullable=True),
        *timestamps(),
    )


def keep_updated_at(*tables: str) -> None:
    """Set `updated_at` on every change of a row, and only then: an UPDATE that changes nothing leaves it."""
    for table in tables:
        op.execute(
            f"CREATE TRIGGER trg_{table}_updated_at BEFORE UPDATE ON {table} FOR EACH ROW"
            " WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION update_updated_at_column()"
        )


def drop_tables(*tables: str) -> None:
    for table in tables:
        op.drop_table(table)
