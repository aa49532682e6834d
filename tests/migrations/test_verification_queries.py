"""The three queries that the founding design gives to check a migrated database, word for word."""

import psycopg

from models import Base

TABLES = """
SELECT table_name FROM information_schema.tables 
WHERE table_schema = 'public' 
ORDER BY table_name;
"""
PARTITIONS = """
SELECT schemaname, tablename, partitiontype 
FROM pg_partitions 
WHERE tablename LIKE 'audit_logs%';
"""
FUNCTIONS = """
SELECT proname FROM pg_proc 
WHERE proname IN (
    'update_updated_at_column',
    'generate_quote_number',
    'cleanup_expired_oauth2_tokens',
    'revoke_user_tokens',
    'create_monthly_audit_partition'
);
"""


def test_tables_query_shows_every_table(owner: psycopg.Connection) -> None:
    assert set(Base.metadata.tables) <= {name for (name,) in owner.execute(TABLES)}


def test_partitions_query_shows_the_audit_partitions(owner: psycopg.Connection) -> None:
    found = owner.execute(PARTITIONS).fetchall()
    assert len(found) >= 5
    assert set(found) == {("public", "audit_logs", "range")}


def test_functions_query_returns_all_five(owner: psycopg.Connection) -> None:
    assert sorted(name for (name,) in owner.execute(FUNCTIONS)) == [
        "cleanup_expired_oauth2_tokens",
        "create_monthly_audit_partition",
        "generate_quote_number",
        "revoke_user_tokens",
        "update_updated_at_column",
    ]
