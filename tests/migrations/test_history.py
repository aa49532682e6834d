"""The chain of revisions: names, each step down and up, and the whole way back."""

from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory

from tests.conftest import DatabaseUrls, migrate
from tests.migrations.catalogue import Catalogue, read_catalogue
from tests.migrations.rows import only
from tests.migrations.running import configured, owner_connection

FOUNDING = [
    "001_core_tables.py",
    "002_users_and_quotes.py",
    "003_rating_engine.py",
    "004_security_and_compliance.py",
    "005_platform_reference_tables.py",
    "006_integration_core.py",
    "007_requests_results_permissions.py",
    "008_enhanced_columns_retention_masking.py",
    "009_add_missing_oauth2_tables.py",
]


def downgrade(urls: DatabaseUrls, revision: str) -> None:
    with owner_connection(urls.owner_url) as connection:
        command.downgrade(configured(connection), revision)


def catalogue_of(urls: DatabaseUrls) -> Catalogue:
    with psycopg.connect(urls.owner_url) as connection:
        return read_catalogue(connection)


def test_the_first_nine_revisions_keep_their_names() -> None:
    chain = list(ScriptDirectory.from_config(configured()).walk_revisions())[::-1]
    assert [Path(step.path).name for step in chain[:9]] == FOUNDING
    assert [step.revision for step in chain] == [f"{number:03d}" for number in range(1, len(chain) + 1)]


def test_down_and_up_again_leaves_the_same_catalogue(database: DatabaseUrls) -> None:
    before = catalogue_of(database)
    downgrade(database, "base")
    assert catalogue_of(database) == Catalogue({}, {}, {}, {}, {}, {}, {}, set(), set())
    migrate(database)
    assert catalogue_of(database) == before


@pytest.mark.timeout(300)  # half a second a migration, and there will be more of them
def test_each_step_can_be_taken_back_alone(fresh_database: DatabaseUrls) -> None:
    chain = list(ScriptDirectory.from_config(configured()).walk_revisions())[::-1]
    after = catalogue_of(fresh_database)
    for step in chain:
        before = after
        migrate(fresh_database, step.revision)
        after = catalogue_of(fresh_database)
        assert after != before
        downgrade(fresh_database, "-1")
        assert catalogue_of(fresh_database) == before, step.revision
        migrate(fresh_database, step.revision)
        assert catalogue_of(fresh_database) == after, step.revision


def test_a_second_upgrade_changes_nothing(database: DatabaseUrls) -> None:
    def rows() -> dict[str, int]:
        with psycopg.connect(database.owner_url) as connection:
            tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
            return {t: only(connection, f"SELECT count(*) FROM {t}") for (t,) in tables}  # noqa: S608 - our own names

    before = catalogue_of(database), rows()
    migrate(database)
    assert (catalogue_of(database), rows()) == before


def test_slots_of_two_entries_of_one_kind_are_not_in_the_way_back(database: DatabaseUrls) -> None:
    chain = ScriptDirectory.from_config(configured()).walk_revisions()
    before = next(str(step.down_revision) for step in chain if step.path.endswith("remember_the_clock.py"))
    with psycopg.connect(database.owner_url) as connection:
        connection.execute(
            "INSERT INTO job (kind, queue, entry, scheduled_for) SELECT 'k', 'maintenance', entry, '2026-05-05 01:10Z'"
            " FROM unnest('{a,b,NULL}'::text[]) AS entry"
        )
    downgrade(database, before)
    with psycopg.connect(database.owner_url) as connection:
        assert only(connection, "SELECT count(*) || ' ' || count(scheduled_for) FROM job") == "3 1"
