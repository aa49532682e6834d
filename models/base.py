"""What every table shares: the declarative base, the names of constraints, identifiers and audit columns.

Constraint and index names follow one convention, so that a migration and a model that say the same thing also name it
the same. Models import nothing of ours outside this package and hold ciphertext as it is stored.
"""

import uuid
from datetime import datetime
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Annotated, Any, get_args

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Enum,
    ForeignKey,
    Identity,
    Index,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    func,
)
from sqlalchemy.dialects.postgresql import CHAR, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# Explicit Nones are SQL NULL; SQLAlchemy's default would store the JSON value null, which IS NOT NULL.
JSON_DOCUMENT = JSONB(none_as_null=True)

CHOICE_LENGTH = 32
"""Length of every column that holds one word of a closed list: wide enough that a new word changes the CHECK only."""

VACUUMED_SOON = {"autovacuum_vacuum_scale_factor": "0.02", "autovacuum_vacuum_threshold": "500"}
"""`postgresql_with` of tables that masking writes: the old version of a masked row lies there until VACUUM comes, by
default once a fifth of the table is dead."""


def short_column_name(index: Index, _table: Table) -> str:
    """The indexed column without its `is_` or `_id`: `idx_<table>_status` indexes `status_id`."""
    first = next(iter(index.expressions))
    name = first.name if isinstance(first, Column) else str(first)
    return name.removeprefix("is_").removesuffix("_id")


NAMING_CONVENTION: dict[str, Any] = {
    "short_column_name": short_column_name,
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "ix": "idx_%(table_name)s_%(short_column_name)s",
}


class Base(DeclarativeBase):
    """Base of all models; `Base.metadata` is whole once `models` has been imported."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it as a plain class attribute
        str: Text(),
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSON_DOCUMENT,
        list[Any]: JSON_DOCUMENT,
    }


def choice(name: str, words: Any) -> Enum:
    """Type of a column that takes one word of a `Literal` from `models.vocabularies`.

    A varchar with a CHECK named `ck_<table>_<name>`, not a PostgreSQL ENUM: a value added to an ENUM cannot be used in
    the transaction that adds it and can never be taken away.
    """
    return Enum(
        *get_args(words),
        name=name,
        native_enum=False,
        create_constraint=True,
        length=CHOICE_LENGTH,
        validate_strings=True,
    )


BigId = Annotated[int, mapped_column(BigInteger, Identity(), primary_key=True, sort_order=-1)]
UuidId = Annotated[uuid.UUID, mapped_column(primary_key=True, server_default=func.gen_random_uuid(), sort_order=-1)]

StateCode = Annotated[str, mapped_column(CHAR(2))]
"""Two capital letters of the United States Postal Service."""

IpAddress = IPv4Address | IPv6Address | IPv4Interface | IPv6Interface
"""What psycopg makes of an address in an INET column, and of the network that masking leaves of it."""

Hash = Annotated[str, mapped_column(String(64))]
"""SHA-256 or HMAC-SHA-256 as lower-case hexadecimal."""

RiskScore = Numeric(3, 2)  # 0.00 to 1.00
Confidence = Numeric(5, 2)  # 0.00 to 100.00; never converted to or from a risk score implicitly
Money = Numeric(12, 2)  # US dollars
Price = Numeric(12, 4)  # of one call, US dollars


class Timestamped:
    """When a row was made and last changed. The database keeps both: `updated_at` by a trigger on every such table."""

    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), sort_order=103)
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), sort_order=104)


class Audited(Timestamped):
    """The audit columns of the integration platform's tables: life-cycle status and who did it."""

    status_id: Mapped[int] = mapped_column(ForeignKey("status.id"), index=True, sort_order=100)
    created_by: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), index=True, sort_order=101)
    updated_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id"), index=True, sort_order=102)
