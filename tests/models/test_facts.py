"""Every table says how long it is kept, every column that may hold personal data says of which class."""

from typing import get_args

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import INET, JSONB

from models import Base
from models.facts import Kept, data_class_of, partitioning_of, personal, personal_columns, retention_of
from models.vocabularies import DataClass

TABLES = list(Base.metadata.tables.values())


def silent_tables(metadata: sa.MetaData) -> list[str]:
    return [table.name for table in metadata.tables.values() if "kept" not in table.info]


def silent_columns(metadata: sa.MetaData) -> list[str]:
    """Columns that take what anybody writes and do not say whether it is personal. Closed lists are exempt."""
    return [
        str(column)
        for table in metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, sa.String | JSONB | INET)
        and not isinstance(column.type, sa.Enum)
        and "personal" not in column.info
    ]


def test_no_table_is_silent() -> None:
    assert silent_tables(Base.metadata) == []


def test_no_column_is_silent() -> None:
    assert silent_columns(Base.metadata) == []


def test_silence_is_found() -> None:
    metadata = sa.MetaData()
    sa.Table(
        "note",
        metadata,
        sa.Column("id", sa.Integer),
        sa.Column("kind", sa.Enum("a", native_enum=False)),
        sa.Column("author", sa.String, info=personal("name")),
        sa.Column("text", sa.Text),
        sa.Column("data", JSONB),
        sa.Column("address", INET),
    )
    assert silent_tables(metadata) == ["note"]
    assert silent_columns(metadata) == ["note.text", "note.data", "note.address"]


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_facts_point_at_what_exists(table: sa.Table) -> None:
    kept = retention_of(table)
    assert isinstance(kept, Kept)
    assert kept.why
    assert (kept.days is None) == (kept.since is None)
    assert kept.since is None or kept.since in table.columns
    assert kept.with_table is None or kept.with_table in Base.metadata.tables
    split = partitioning_of(table)
    assert split is None or split.by in table.primary_key.columns
    assert set(personal_columns(table).values()) <= set(get_args(DataClass))


def test_what_is_certainly_personal_is_declared() -> None:
    driver, license_, request = (Base.metadata.tables[n] for n in ("driver", "license", "integration_request"))
    assert personal_columns(driver) == {"first_name": "name", "last_name": "name", "date_of_birth": "birth_date"}
    assert data_class_of(license_.c.license_number) == data_class_of(license_.c.license_number_bidx) == "license"
    assert data_class_of(request.c.response_body) == "document"
    assert data_class_of(request.c.error_message) == "free_text"
    assert data_class_of(request.c.correlation_id) is None
