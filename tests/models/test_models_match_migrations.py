"""The models and the migrations describe the same database: types, defaults, NULLs, storage, keys, checks, indexes."""

import psycopg
from alembic import command

from models import Base
from tests.conftest import DatabaseUrls
from tests.migrations.catalogue import Catalogue, read_catalogue
from tests.migrations.running import configured, owner_connection

# What the models' defaults and checks call, but only migrations make.
FUNCTIONS = ("generate_quote_number()", "validate_grant_types(jsonb)")


def test_a_database_made_from_the_models_looks_like_a_migrated_one(
    catalogue: Catalogue, fresh_database: DatabaseUrls
) -> None:
    with psycopg.connect(fresh_database.owner_url) as connection:
        connection.execute("CREATE TYPE text_range AS RANGE (subtype = text)")
        connection.execute("CREATE SEQUENCE quote_number_seq")
        for name in FUNCTIONS:
            connection.execute(catalogue.functions[name].encode())
    with owner_connection(fresh_database.owner_url) as owner, owner.begin():
        Base.metadata.create_all(owner)
    with psycopg.connect(fresh_database.owner_url) as connection:
        made = read_catalogue(connection)
    assert made.columns == catalogue.columns
    assert made.storage == catalogue.storage
    assert made.constraints == catalogue.constraints
    assert made.indexes == catalogue.indexes


def test_alembic_finds_nothing_to_do(module_database: DatabaseUrls) -> None:
    with owner_connection(module_database.owner_url) as connection:
        command.check(configured(connection))
