"""What retention must not touch, and what it is told: legal holds that can't slip in, policies that are checked.

A view, triggers on two small tables, a column with a constant default, and an index of job: building that one keeps
writers of job out for about a second a million finished rows.
"""

import sqlalchemy as sa
from alembic import op

revision = "030"
down_revision = "029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "data_retention_policies",
        sa.Column("max_share", sa.Numeric(4, 3), nullable=False, server_default=sa.text("0.100")),
    )
    op.create_check_constraint("max_share", "data_retention_policies", "max_share > 0 AND max_share <= 1")
    op.create_index(
        "idx_job_finished", "job", ["finished_at", "id"], postgresql_where=sa.text("finished_at IS NOT NULL")
    )
    op.execute(POLICIES)
    op.execute(CHECK_POLICY)
    op.execute(
        "CREATE TRIGGER trg_data_retention_policies_checked BEFORE INSERT OR UPDATE ON data_retention_policies"
        " FOR EACH ROW EXECUTE FUNCTION check_retention_policy()"
    )
    op.execute(LOCK_HOLDS)
    op.execute(CHECK_HOLD)
    op.execute(
        "CREATE TRIGGER trg_legal_holds_checked BEFORE INSERT OR UPDATE OR DELETE ON legal_holds"
        " FOR EACH ROW EXECUTE FUNCTION check_legal_hold()"
    )
    op.execute(HELD_ROWS)
    op.execute(HELD_IDS)
    op.execute(BACKLOG)


def downgrade() -> None:
    op.execute("DROP FUNCTION retention_backlog()")
    op.execute("DROP FUNCTION held_ids(text)")
    op.execute("DROP VIEW held_rows")
    op.execute("DROP TRIGGER trg_legal_holds_checked ON legal_holds")
    op.execute("DROP FUNCTION check_legal_hold()")
    op.execute("DROP FUNCTION lock_legal_holds()")
    op.execute("DROP TRIGGER trg_data_retention_policies_checked ON data_retention_policies")
    op.execute("DROP FUNCTION check_retention_policy()")
    op.execute(
        "DELETE FROM data_retention_policies WHERE table_name IN ('job', 'driver', 'vehicle', 'license', 'address')"
    )
    op.drop_index("idx_job_finished", "job")
    op.drop_column("data_retention_policies", "max_share")


POLICIES = """
    INSERT INTO data_retention_policies (table_name, retention_days, date_column, legal_basis, max_share)
    VALUES
      ('job', 90, 'finished_at', 'Long enough to explain a job''s fate to whoever asked for it.', 0.5),
      ('driver', 90, 'updated_at', 'A person who was removed is of no use once nothing refers to them.', 0.1),
      ('vehicle', 90, 'updated_at', 'As a driver who was removed.', 0.1),
      ('license', 90, 'updated_at', 'As a driver who was removed.', 0.1),
      ('address', 90, 'updated_at', 'As a driver who was removed.', 0.1)
    ON CONFLICT (table_name) DO NOTHING
"""

# Refused by name, with a sentence, where a CHECK would only give its own name. A removal record names the version of
# the policy it followed, so a changed rule is a new version.
CHECK_POLICY = """
    CREATE FUNCTION check_retention_policy() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
      target regclass := to_regclass('public.' || quote_ident(NEW.table_name));
      is_partitioned boolean;
    BEGIN
      IF target IS NULL THEN
        RAISE undefined_table USING MESSAGE = format('there is no table %s to remove rows of', NEW.table_name);
      END IF;
      IF NEW.table_name IN ('alembic_version', 'data_retention_policies', 'legal_holds', 'retention_runs',
                            'retention_run_items', 'audit_months') THEN
        RAISE check_violation USING MESSAGE = format('%s is evidence, or the schema''s own: it has no retention policy',
                                                     NEW.table_name);
      END IF;
      IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = target AND attname = NEW.date_column AND attnum > 0
                        AND NOT attisdropped AND atttypid IN ('date'::regtype, 'timestamptz'::regtype)) THEN
        RAISE undefined_column USING MESSAGE = format('%s.%s is no column with a date or a time',
                                                      NEW.table_name, NEW.date_column);
      END IF;
      IF NEW.retention_days <= 0 THEN
        RAISE check_violation USING MESSAGE = format('retention_days of %s must be at least 1, not %s',
                                                     NEW.table_name, NEW.retention_days);
      END IF;
      IF NEW.mask_after_days < 0 THEN
        RAISE check_violation USING MESSAGE = format('mask_after_days of %s must not be negative: %s',
                                                     NEW.table_name, NEW.mask_after_days);
      END IF;
      is_partitioned := EXISTS (SELECT FROM pg_partitioned_table WHERE partrelid = target);
      IF is_partitioned <> (NEW.action = 'partition') THEN
        RAISE check_violation USING MESSAGE = format(
          CASE WHEN is_partitioned THEN '%s is partitioned: its action must be partition'
               ELSE '%s has no partitions: its action must be delete' END, NEW.table_name);
      END IF;
      IF TG_OP = 'UPDATE'
         AND (NEW.table_name, NEW.retention_days, NEW.mask_after_days, NEW.date_column, NEW.action, NEW.enabled)
             IS DISTINCT FROM
             (OLD.table_name, OLD.retention_days, OLD.mask_after_days, OLD.date_column, OLD.action, OLD.enabled) THEN
        NEW.version := OLD.version + 1;
      END IF;
      RETURN NEW;
    END $$
"""

# Whoever removes or masks rows calls this first in its transaction; whoever places a hold waits until those
# transactions are through, and the ones after see the hold. Without it a hold that is placed while a batch runs would
# come too late for rows that the batch has already looked at.
LOCK_HOLDS = """
    CREATE FUNCTION lock_legal_holds() RETURNS void LANGUAGE sql VOLATILE AS $$
      SELECT pg_advisory_xact_lock_shared(hashtextextended('legal holds', 0))
    $$
"""

CHECK_HOLD = r"""
    CREATE FUNCTION check_legal_hold() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
      held text := CASE NEW.scope_type WHEN 'customer' THEN 'customers' WHEN 'policy' THEN 'policies'
                     WHEN 'claim' THEN 'claims' WHEN 'quote' THEN 'quotes' WHEN 'user' THEN 'users'
                     ELSE NEW.scope_type END;
      is_there boolean;
    BEGIN
      IF TG_OP = 'DELETE' THEN
        RAISE restrict_violation USING
          MESSAGE = format('legal hold %s is evidence and stays: release it instead', OLD.id);
      END IF;
      IF TG_OP = 'UPDATE' AND (NEW.scope_type, NEW.scope_id) IS DISTINCT FROM (OLD.scope_type, OLD.scope_id) THEN
        RAISE restrict_violation USING
          MESSAGE = format('legal hold %s holds what it holds: release it and place another', OLD.id);
      END IF;
      IF NEW.released_at IS NOT NULL THEN
        RETURN NEW;
      END IF;
      PERFORM pg_advisory_xact_lock(hashtextextended('legal holds', 0));
      IF NEW.scope_type = 'audit_month' THEN
        is_there := NEW.scope_id ~ '^[0-9]{4}_(0[1-9]|1[0-2])$'
                    AND to_regclass('public.audit_logs_' || NEW.scope_id) IS NOT NULL;
      ELSE
        BEGIN
          EXECUTE format('SELECT true FROM %I WHERE id = CAST($1 AS %s) FOR KEY SHARE', held,
                         (SELECT format_type(atttypid, NULL) FROM pg_attribute
                           WHERE attrelid = ('public.' || held)::regclass AND attname = 'id'))
             INTO is_there USING NEW.scope_id;
        EXCEPTION WHEN invalid_text_representation OR numeric_value_out_of_range THEN
          is_there := false;
        END;
      END IF;
      IF NOT coalesce(is_there, false) THEN
        RAISE foreign_key_violation USING
          MESSAGE = format('there is no %s %s to hold', replace(NEW.scope_type, '_', ' '), NEW.scope_id);
      END IF;
      IF NEW.scope_type <> 'audit_month' THEN
        -- As the table writes it: an id in capitals or with leading zeros would never be found again.
        NEW.scope_id := CASE WHEN held IN ('policies', 'claims', 'quotes', 'users') THEN NEW.scope_id::uuid::text
                             WHEN held = 'customers' THEN NEW.scope_id ELSE NEW.scope_id::bigint::text END;
      END IF;
      RETURN NEW;
    END $$
"""

# Every row that an open hold protects, directly or through what it belongs to: the one place where that is decided.
# For people; statements over large tables ask `held_ids`. No row_id is NULL.
# The ids of each scope are cast in a subquery of their own, behind the filter on the scope. LATERAL with OFFSET 0 goes
# from the few holds to the many rows; a plain join may read the whole table to find that nothing is held.
HELD_ROWS = """
    CREATE VIEW held_rows (table_name, row_id) AS
    WITH hold AS MATERIALIZED (
      SELECT scope_type, scope_id FROM legal_holds WHERE released_at IS NULL
    ), by_number AS MATERIALIZED (
      SELECT scope_type, scope_id::bigint AS id FROM hold
       WHERE scope_type IN ('driver', 'vehicle', 'address', 'integration_request')
    ), by_uuid AS MATERIALIZED (
      SELECT scope_type, scope_id::uuid AS id FROM hold WHERE scope_type IN ('policy', 'claim', 'quote', 'user')
    ), held_customer AS (
      SELECT scope_id AS id FROM hold WHERE scope_type = 'customer'
    ), held_policy AS (
      SELECT id FROM by_uuid WHERE scope_type = 'policy'
      UNION SELECT p.id FROM policies p JOIN held_customer c ON p.customer_id = c.id
      UNION SELECT c.policy_id FROM claims c JOIN by_uuid h ON c.id = h.id AND h.scope_type = 'claim'
    ), held_quote AS (
      SELECT id FROM by_uuid WHERE scope_type = 'quote'
      UNION SELECT q.id FROM quotes q JOIN held_customer c ON q.customer_id = c.id
      UNION SELECT q.id FROM quotes q JOIN held_policy p ON q.converted_to_policy_id = p.id
      UNION SELECT d.quote_id FROM driver d JOIN by_number h ON d.id = h.id AND h.scope_type = 'driver'
      UNION SELECT d.quote_id FROM driver d JOIN by_number h ON d.address_id = h.id AND h.scope_type = 'address'
      UNION SELECT v.quote_id FROM vehicle v JOIN by_number h ON v.id = h.id AND h.scope_type = 'vehicle'
    ), held_driver AS (
      SELECT id FROM by_number WHERE scope_type = 'driver'
      UNION SELECT d.id FROM driver d JOIN by_number h ON d.address_id = h.id AND h.scope_type = 'address'
      UNION SELECT d.id FROM driver d JOIN held_quote q ON d.quote_id = q.id
    ), held_vehicle AS (
      SELECT id FROM by_number WHERE scope_type = 'vehicle'
      UNION SELECT v.id FROM vehicle v JOIN held_quote q ON v.quote_id = q.id
    ), held_address AS (
      SELECT id FROM by_number WHERE scope_type = 'address'
      UNION SELECT d.address_id FROM driver d JOIN held_driver h ON d.id = h.id WHERE d.address_id IS NOT NULL
    ), held_target AS (
      SELECT 'driver' AS type, id FROM held_driver
      UNION ALL SELECT 'vehicle', id FROM held_vehicle
      UNION ALL SELECT 'address', id FROM held_address
    ), held_request AS (
      SELECT id FROM by_number WHERE scope_type = 'integration_request'
      UNION SELECT r.id FROM held_driver d
              CROSS JOIN LATERAL (SELECT id FROM integration_request WHERE driver_id = d.id OFFSET 0) r
      UNION SELECT r.id FROM held_quote q
              CROSS JOIN LATERAL (SELECT id FROM integration_request WHERE quote_id = q.id OFFSET 0) r
      UNION SELECT r.id FROM by_uuid u
              CROSS JOIN LATERAL (SELECT id FROM integration_request WHERE user_id = u.id OFFSET 0) r
             WHERE u.scope_type = 'user'
      UNION SELECT v.request_id FROM held_target t
              CROSS JOIN LATERAL (SELECT request_id FROM integration_verification_result
                                   WHERE target_entity_type = t.type AND target_entity_id = t.id OFFSET 0) v
    )
    SELECT 'customers'::text, id::text FROM held_customer
    UNION ALL SELECT 'policies', id::text FROM held_policy
    UNION ALL SELECT 'claims', id::text FROM by_uuid WHERE scope_type = 'claim'
    UNION ALL SELECT 'claims', c.id::text FROM claims c JOIN held_policy p ON c.policy_id = p.id
    UNION ALL SELECT 'quotes', id::text FROM held_quote WHERE id IS NOT NULL
    UNION ALL SELECT 'driver', id::text FROM held_driver
    UNION ALL SELECT 'license', l.id::text FROM license l JOIN held_driver d ON l.driver_id = d.id
    UNION ALL SELECT 'license', d.license_id::text FROM driver d JOIN held_driver h ON d.id = h.id
               WHERE d.license_id IS NOT NULL
    UNION ALL SELECT 'vehicle', id::text FROM held_vehicle
    UNION ALL SELECT 'address', id::text FROM held_address
    UNION ALL SELECT 'integration_request', id::text FROM held_request
    UNION ALL SELECT 'integration_verification_result', v.id::text
                FROM held_request r
               CROSS JOIN LATERAL (SELECT id FROM integration_verification_result WHERE request_id = r.id OFFSET 0) v
    UNION ALL SELECT 'users', id::text FROM by_uuid WHERE scope_type = 'user'
    UNION ALL SELECT 'user_sessions', s.id::text
                FROM by_uuid u CROSS JOIN LATERAL (SELECT id FROM user_sessions WHERE user_id = u.id OFFSET 0) s
               WHERE u.scope_type = 'user'
    UNION ALL SELECT 'oauth2_token_logs', l.id::text
                FROM by_uuid u CROSS JOIN LATERAL (SELECT id FROM oauth2_token_logs WHERE user_id = u.id OFFSET 0) l
               WHERE u.scope_type = 'user'
"""

# The held rows of one table, worked out once a statement:
#     quotes.id::text NOT IN (SELECT held_ids('quotes'))
# Holds are few and tables are large, which the planner can't know of the view's inner steps: left alone it reads whole
# tables to find nothing. So it has to go from the holds to the rows, by their indexes; and what looks so dear would be
# compiled first, which takes a hundred times as long as to run it.
HELD_IDS = """
    CREATE FUNCTION held_ids(p_table text) RETURNS SETOF text LANGUAGE sql STABLE
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
      SELECT row_id FROM held_rows WHERE table_name = p_table
    $$
"""

# For monitoring, whether the job runs or not: the oldest row of each table that should have gone, held ones left out.
BACKLOG = """
    CREATE FUNCTION retention_backlog() RETURNS TABLE (table_name text, overdue interval)
    LANGUAGE plpgsql STABLE AS $$
    DECLARE
      policy data_retention_policies;
    BEGIN
      FOR policy IN SELECT * FROM data_retention_policies p
                     WHERE p.enabled AND p.action = 'delete'
                       -- What was marked DELETED is little and never urgent.
                       AND p.table_name NOT IN ('driver', 'vehicle', 'license', 'address')
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
