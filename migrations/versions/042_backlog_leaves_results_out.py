"""Monitoring no longer reads all results each minute to find the oldest one: they have no index by date and leave with
their requests, whose age tells. A new body of one function, no table changes."""

from importlib import import_module

from alembic import op

revision = "042"
down_revision = "041"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(BACKLOG)


def downgrade() -> None:
    before = import_module("migrations.versions.030_retention_guards")
    op.execute(before.BACKLOG.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))


BACKLOG = """
    CREATE OR REPLACE FUNCTION retention_backlog() RETURNS TABLE (table_name text, overdue interval)
    LANGUAGE plpgsql STABLE AS $$
    DECLARE
      policy data_retention_policies;
    BEGIN
      FOR policy IN SELECT * FROM data_retention_policies p
                     WHERE p.enabled AND p.action = 'delete'
                       -- Of these only what was marked DELETED leaves by itself, which is little and never urgent.
                       AND p.table_name NOT IN ('driver', 'vehicle', 'license', 'address',
                                                'integration_verification_result')
                     ORDER BY p.table_name
      LOOP
        table_name := policy.table_name;
        EXECUTE format(
          'SELECT now() - make_interval(days => $1) - min(%1$I) FROM (
             SELECT %1$I FROM %2$I r
              WHERE %1$I < now() - make_interval(days => $1)
                AND r.id::text NOT IN (SELECT held_ids(%2$L))
              ORDER BY %1$I LIMIT 1) AS oldest',
          policy.date_column, policy.table_name) INTO overdue USING policy.retention_days;
        IF overdue IS NOT NULL THEN
          RETURN NEXT;
        END IF;
      END LOOP;
    END $$
"""
