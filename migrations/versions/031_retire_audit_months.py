"""Old months of the audit trail can leave: detached first, dropped two nights later, never while they are held.

A new table and a function; nothing existing is locked.
"""

import sqlalchemy as sa
from alembic import op

from migrations.columns import Instant, drop_tables, made_at, required

revision = "031"
down_revision = "030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_months",
        sa.Column("month", sa.Date, primary_key=True),
        required("policy_version", sa.Integer),
        required("row_count", sa.BigInteger),
        made_at("detached_at"),
        required("nights_since", sa.Integer, server_default=sa.text("0")),
        required("counted_on", sa.Date),
        sa.Column("dropped_at", Instant),
        sa.CheckConstraint("extract(day FROM month) = 1", name="month"),
        sa.CheckConstraint("nights_since >= 0 AND row_count >= 0", name="counts"),
    )
    op.execute(RETIRE)
    op.execute("REVOKE ALL ON FUNCTION retire_audit_month(date) FROM PUBLIC")


def downgrade() -> None:
    op.execute("DROP FUNCTION retire_audit_month(date)")
    drop_tables("audit_months")


# Runs with its owner's rights, so it trusts nobody: it looks for itself whether the month is over by the policy, and no
# policy makes it shorter than a year, which is what a security audit looks back on. Gives what became of the month:
# kept, held, detached, waiting, dropped or gone.
#
# - DETACH without CONCURRENTLY, which a default partition rules out. It only changes the catalogue, but needs the
#   parent for itself for a moment, and everybody queues behind it: hence the short patience. The caller repeats.
# - Two nights lie between detaching and dropping, however often it is called on a day: time to take the month along, or
#   to notice a mistake and attach it again.
RETIRE = """
    CREATE FUNCTION retire_audit_month(p_month date) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET lock_timeout = '500ms' SET timezone = 'UTC' AS $$
    DECLARE
      first_day date := date_trunc('month', p_month)::date;
      partition_name text := 'audit_logs_' || to_char(first_day, 'YYYY_MM');
      today date := (now() AT TIME ZONE 'UTC')::date;
      policy data_retention_policies;
      retired audit_months;
      is_attached boolean;
      is_held boolean;
      row_count bigint;
    BEGIN
      PERFORM pg_advisory_xact_lock(hashtextextended('public.audit_logs partitions', 0));
      SELECT * INTO policy FROM data_retention_policies WHERE table_name = 'audit_logs' AND enabled;
      IF NOT FOUND
         OR first_day + interval '1 month' > now() - make_interval(days => greatest(policy.retention_days, 365)) THEN
        RETURN 'kept';
      END IF;
      IF to_regclass(partition_name) IS NULL THEN
        RETURN 'gone';
      END IF;
      is_attached := EXISTS (SELECT FROM pg_inherits WHERE inhparent = 'public.audit_logs'::regclass
                                AND inhrelid = to_regclass(partition_name));
      SELECT * INTO retired FROM audit_months WHERE month = first_day AND dropped_at IS NULL;
      IF NOT is_attached AND retired.month IS NULL THEN
        RETURN 'kept';  -- somebody else's doing: it is not for us to drop
      END IF;

      -- Held: the month itself, or a person whose deeds it tells of.
      PERFORM lock_legal_holds();
      EXECUTE format(
        'SELECT EXISTS (SELECT FROM legal_holds WHERE released_at IS NULL AND scope_type = ''audit_month''
                           AND scope_id = %L)
             OR EXISTS (SELECT FROM legal_holds h JOIN %I a ON a.user_id::text = h.scope_id
                         WHERE h.released_at IS NULL AND h.scope_type = ''user'')',
        to_char(first_day, 'YYYY_MM'), partition_name) INTO is_held;
      IF is_held THEN
        RETURN 'held';
      END IF;

      IF is_attached THEN
        EXECUTE format('SELECT count(*) FROM %I', partition_name) INTO row_count;
        EXECUTE format('ALTER TABLE audit_logs DETACH PARTITION %I', partition_name);
        INSERT INTO audit_months (month, policy_version, row_count, counted_on)
        VALUES (first_day, policy.version, row_count, today)
        ON CONFLICT (month) DO UPDATE SET policy_version = excluded.policy_version, row_count = excluded.row_count,
          detached_at = now(), nights_since = 0, counted_on = today, dropped_at = NULL;
        INSERT INTO audit_logs (action, resource_type, resource_id, details)
        VALUES ('audit_months.detached', 'audit_month', to_char(first_day, 'YYYY_MM'),
                jsonb_build_object('rows', row_count, 'policy_version', policy.version));
        RETURN 'detached';
      END IF;

      IF retired.counted_on < today THEN
        retired.nights_since := retired.nights_since + 1;
        UPDATE audit_months SET nights_since = retired.nights_since, counted_on = today WHERE month = first_day;
      END IF;
      IF retired.nights_since < 2 THEN
        RETURN 'waiting';
      END IF;
      EXECUTE format('DROP TABLE %I', partition_name);
      UPDATE audit_months SET dropped_at = now() WHERE month = first_day;
      INSERT INTO audit_logs (action, resource_type, resource_id, details)
      VALUES ('audit_months.dropped', 'audit_month', to_char(first_day, 'YYYY_MM'),
              jsonb_build_object('rows', retired.row_count, 'policy_version', retired.policy_version));
      RETURN 'dropped';
    END $$
"""
