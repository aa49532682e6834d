"""What the application's role may do, and what it may not."""

from datetime import date
from urllib.parse import urlsplit

import psycopg
import pytest
from alembic.util import CommandError
from psycopg import errors, sql

from migrations.grants import grant_application_role
from tests.conftest import DatabaseUrls, migrate
from tests.migrations.rows import only
from tests.migrations.running import owner_connection
from worker.dev.embedded import EmbeddedServers


def test_the_application_cannot_change_the_audit_trail(database: DatabaseUrls) -> None:
    with psycopg.connect(database.app_url, autocommit=True) as connection:
        connection.execute("INSERT INTO audit_logs (action, resource_type) VALUES ('a', 'r')")
        current = only(connection, "SELECT tableoid::regclass::text FROM audit_logs")
        made = only(connection, "SELECT create_monthly_audit_partition(%s)", date(2040, 1, 1))
        for table in ("audit_logs", current, made, "audit_logs_default"):
            for statement in ("UPDATE {} SET action = 'x'", "DELETE FROM {}", "TRUNCATE {}"):
                with pytest.raises(errors.InsufficientPrivilege):
                    connection.execute(sql.SQL(statement).format(sql.Identifier(table)))
        assert only(connection, "SELECT count(*) FROM audit_logs") == 1


def test_the_application_works_with_all_other_tables(application: psycopg.Connection) -> None:
    refused = application.execute("""
        SELECT c.relname, privilege FROM pg_class c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) privilege
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND NOT c.relispartition
           AND c.relname <> 'alembic_version' AND NOT has_table_privilege(c.oid, privilege)""").fetchall()
    assert refused == [("provider_call", "UPDATE")], "a call stays as it was written down"


def test_the_application_owns_nothing(application: psycopg.Connection) -> None:
    for statement in (
        "DROP TABLE job",
        "ALTER TABLE users ADD x int",
        "CREATE TABLE mine ()",
        "UPDATE alembic_version SET version_num = '001'",
    ):
        with pytest.raises(errors.InsufficientPrivilege), application.transaction():
            application.execute(statement)


def test_functions_with_their_owners_rights_cannot_be_led_astray(owner: psycopg.Connection) -> None:
    found = owner.execute("""
        SELECT proname, proconfig, has_function_privilege('public', oid, 'EXECUTE') FROM pg_proc
         WHERE prosecdef AND pronamespace = 'public'::regnamespace""").fetchall()
    assert "create_monthly_audit_partition" in {name for name, _, _ in found}
    for name, configuration, is_public in found:
        assert "search_path=public, pg_temp" in configuration, name
        assert not is_public, name


def test_granting_again_changes_nothing(database: DatabaseUrls) -> None:
    def rights() -> list[tuple[str, str]]:
        with psycopg.connect(database.owner_url) as connection:
            return connection.execute("SELECT relname, relacl::text FROM pg_class ORDER BY oid").fetchall()

    before = rights()
    migrate(database)
    assert rights() == before


def test_an_extension_beside_the_tables_stopped_every_upgrade(servers: EmbeddedServers, database: DatabaseUrls) -> None:
    """One that an administrator had added, so that its functions were not the owner's to grant."""
    url = urlsplit(servers.admin_database_url)._replace(path=f"/{database.name}").geturl()
    with psycopg.connect(url) as admin:
        admin.execute("CREATE EXTENSION pg_stat_statements")
    migrate(database)
    with psycopg.connect(database.app_url) as connection:
        assert only(connection, "SELECT has_table_privilege('job', 'DELETE')")
        assert not only(connection, "SELECT has_table_privilege('pg_stat_statements', 'DELETE')")


def test_a_missing_role_is_named(database: DatabaseUrls) -> None:
    with (
        owner_connection(database.owner_url) as connection,
        pytest.raises(CommandError, match="role 'nobody_here' does not exist"),
    ):
        grant_application_role(connection, "nobody_here")
