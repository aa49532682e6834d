"""Every change of configuration is in the audit trail, whoever makes it: names of columns, never their values.

Triggers on small tables that change by hand; each statement waits for its table's writers for a moment.
"""

from alembic import op

revision = "032"
down_revision = "031"
branch_labels = None
depends_on = None

# What decides how the platform behaves. Not among them: rows that work changes by itself.
TABLES = (
    "third_party_integration", "integration_configuration", "integration_node", "integration_field_mapping",
    "integration_permission", "data_retention_policies", "legal_holds", "pii_masking_rules", "rate_tables",
    "discount_rules", "surcharge_rules", "state_rating_rules", "oauth2_clients", "sso_providers", "program", "producer",
    "status", "users",
)  # fmt: skip

# Who did it: what the transaction says of itself (`SET LOCAL worker.actor`), else the row, else the database's role.
# A hash, key or secret that changes is told by its column's name; the trail must never hold the value.
AUDIT_CHANGE = """
    CREATE FUNCTION audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
      old_row jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) ELSE '{}' END;
      new_row jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) ELSE '{}' END;
      row_now jsonb := CASE WHEN TG_OP = 'DELETE' THEN old_row ELSE new_row END;
      changed jsonb;
    BEGIN
      SELECT coalesce(jsonb_agg(key ORDER BY key), '[]') INTO changed
        FROM jsonb_object_keys(old_row || new_row) AS key
       WHERE old_row -> key IS DISTINCT FROM new_row -> key AND key NOT IN ('updated_at', 'updated_by');
      IF changed = '[]' THEN
        RETURN NULL;
      END IF;
      INSERT INTO audit_logs (user_id, action, resource_type, resource_id, details)
      VALUES (
        CASE TG_TABLE_NAME WHEN 'legal_holds' THEN coalesce(row_now ->> 'released_by', row_now ->> 'placed_by')
                           ELSE coalesce(row_now ->> 'updated_by', row_now ->> 'created_by') END::uuid,
        'configuration.' || CASE TG_OP WHEN 'INSERT' THEN 'added' WHEN 'UPDATE' THEN 'changed' ELSE 'removed' END,
        TG_TABLE_NAME, row_now ->> 'id',
        jsonb_strip_nulls(jsonb_build_object(
          'columns', CASE WHEN TG_OP = 'UPDATE' THEN changed END,
          'by', nullif(current_setting('worker.actor', true), ''),
          'role', session_user
        ))
      );
      RETURN NULL;
    END $$
"""


def upgrade() -> None:
    op.execute(AUDIT_CHANGE)
    for table in TABLES:
        op.execute(
            f"CREATE TRIGGER trg_{table}_audited AFTER INSERT OR UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION audit_change()"
        )


def downgrade() -> None:
    for table in TABLES:
        op.execute(f"DROP TRIGGER trg_{table}_audited ON {table}")
    op.execute("DROP FUNCTION audit_change()")
