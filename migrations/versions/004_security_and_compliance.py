"""Identity providers, OAuth2 clients, second factors, sessions, and the audit trail in monthly partitions."""

import sqlalchemy as sa
from alembic import op

from migrations.columns import (
    Hash,
    Inet,
    Instant,
    Json,
    choice,
    drop_tables,
    flag,
    json_list,
    json_object,
    keep_updated_at,
    made_at,
    reference,
    required,
    timestamps,
    user,
    uuid_id,
)

revision = "004"
down_revision = "003"
branch_labels = None
depends_on = None

# The application calls it but owns nothing, so it runs with its owner's rights; hence the fixed search path.
# - The advisory lock: IF NOT EXISTS alone fails in all but one of several sessions that come at once.
# - LIKE, CHECK, ATTACH instead of PARTITION OF: readers and writers of the parent go on meanwhile.
# - Rows that fell into the default partition because the month was missing move over first; with them there,
#   PostgreSQL refuses to attach. ATTACH takes the same lock, only later: too late for a row that comes in between.
CREATE_PARTITION = """
    CREATE FUNCTION create_monthly_audit_partition(p_month date DEFAULT NULL) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET lock_timeout = '2s' SET timezone = 'UTC' AS $$
    DECLARE
      first_day date := date_trunc('month', coalesce(p_month, (now() + interval '1 month')::date))::date;
      partition_name text := 'audit_logs_' || to_char(first_day, 'YYYY_MM');
      lower_bound text := to_char(first_day, 'YYYY-MM-DD') || ' 00:00:00+00';
      upper_bound text := to_char(first_day + interval '1 month', 'YYYY-MM-DD') || ' 00:00:00+00';
    BEGIN
      PERFORM pg_advisory_xact_lock(hashtextextended('public.audit_logs partitions', 0));
      IF EXISTS (SELECT FROM pg_inherits
                  WHERE inhparent = 'public.audit_logs'::regclass AND inhrelid = to_regclass(partition_name)) THEN
        RETURN partition_name;
      END IF;

      EXECUTE format('CREATE TABLE %I (LIKE audit_logs INCLUDING ALL, CONSTRAINT ck_%s_month
                        CHECK (created_at >= %L::timestamptz AND created_at < %L::timestamptz))',
                     partition_name, partition_name, lower_bound, upper_bound);

      LOCK TABLE audit_logs_default IN ACCESS EXCLUSIVE MODE;
      EXECUTE format('WITH moved AS (DELETE FROM audit_logs_default
                                      WHERE created_at >= %L::timestamptz AND created_at < %L::timestamptz
                                  RETURNING *)
                      INSERT INTO %I SELECT * FROM moved', lower_bound, upper_bound, partition_name);
      EXECUTE format('ALTER TABLE audit_logs ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                     partition_name, lower_bound, upper_bound);
      EXECUTE format('ALTER TABLE %I DROP CONSTRAINT ck_%s_month', partition_name, partition_name);
      RETURN partition_name;
    END $$
"""

# A view that other systems have and PostgreSQL does not: one row a partition.
PARTITIONS_VIEW = """
    CREATE VIEW pg_partitions AS
    SELECT pn.nspname AS schemaname,
           p.relname AS tablename,
           cn.nspname AS partitionschemaname,
           c.relname AS partitiontablename,
           CASE t.partstrat WHEN 'r' THEN 'range' WHEN 'l' THEN 'list' ELSE 'hash' END AS partitiontype,
           pg_get_expr(c.relpartbound, c.oid) AS partitionboundary
      FROM pg_inherits i
      JOIN pg_partitioned_table t ON t.partrelid = i.inhparent
      JOIN pg_class p ON p.oid = i.inhparent
      JOIN pg_namespace pn ON pn.oid = p.relnamespace
      JOIN pg_class c ON c.oid = i.inhrelid
      JOIN pg_namespace cn ON cn.oid = c.relnamespace
"""


def upgrade() -> None:
    op.create_table(
        "sso_providers",
        uuid_id(),
        required("provider_name", sa.String(100), unique=True),
        choice("provider_type", "google", "azure", "okta", "auth0", "saml", "oidc"),
        required("client_id", sa.String(255)),
        sa.Column("client_secret_encrypted", sa.Text),
        json_object("configuration"),
        flag("is_enabled", True),
        *timestamps(),
    )

    # Containment alone would accept the bare string "refresh_token"; NULL counts as invalid.
    op.execute("""
        CREATE FUNCTION validate_grant_types(p_grant_types jsonb) RETURNS boolean
        LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
          SELECT coalesce(
            jsonb_typeof(p_grant_types) = 'array'
              AND p_grant_types <> '[]'
              AND p_grant_types <@ '["authorization_code", "client_credentials", "refresh_token"]',
            false)
        $$
    """)
    op.create_table(
        "oauth2_clients",
        uuid_id(),
        required("client_id", sa.String(100), unique=True),
        sa.Column("client_secret_hash", sa.String(255)),
        required("client_name", sa.String(100)),
        json_list("redirect_uris"),
        required(
            "allowed_grant_types",
            Json,
            server_default=sa.text("""'["authorization_code", "refresh_token"]'::jsonb"""),
        ),
        json_list("allowed_scopes"),
        required("rate_limit_per_minute", sa.Integer, server_default=sa.text("60")),
        required("rate_limit_per_hour", sa.Integer, server_default=sa.text("1000")),
        flag("is_active", True),
        sa.Column("expires_at", Instant),
        *timestamps(),
        sa.CheckConstraint("validate_grant_types(allowed_grant_types)", name="allowed_grant_types"),
        sa.CheckConstraint("jsonb_typeof(redirect_uris) = 'array'", name="redirect_uris"),
        sa.CheckConstraint("jsonb_typeof(allowed_scopes) = 'array'", name="allowed_scopes"),
        sa.CheckConstraint("rate_limit_per_minute > 0", name="rate_limit_per_minute"),
        sa.CheckConstraint("rate_limit_per_hour > 0", name="rate_limit_per_hour"),
    )

    op.create_table(
        "user_mfa_settings",
        sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id"), primary_key=True),
        choice("preferred_method", "totp", "webauthn", "sms", "recovery_codes", nullable=True),
        flag("totp_enabled", False),
        sa.Column("totp_secret_encrypted", sa.Text),
        flag("webauthn_enabled", False),
        json_list("webauthn_credentials"),
        flag("sms_enabled", False),
        sa.Column("sms_phone_encrypted", sa.Text),
        sa.Column("recovery_codes_encrypted", sa.Text),
        *timestamps(),
    )
    op.create_table(
        "user_sessions",
        uuid_id(),
        user("user_id"),
        required("session_token_hash", Hash, unique=True),
        reference("sso_providers", "sso_provider_id", sa.Uuid, nullable=True),
        sa.Column("ip_address", Inet),
        sa.Column("user_agent", sa.Text),
        made_at(),
        required("expires_at", Instant, index=True),
        sa.Column("revoked_at", Instant),
    )
    keep_updated_at("sso_providers", "oauth2_clients", "user_mfa_settings")

    op.create_table(
        "audit_logs",
        sa.Column("id", sa.Uuid, server_default=sa.func.gen_random_uuid(), primary_key=True),
        sa.Column("created_at", Instant, server_default=sa.func.now(), primary_key=True),
        sa.Column("user_id", sa.Uuid),
        required("action", sa.String(100)),
        required("resource_type", sa.String(100)),
        sa.Column("resource_id", sa.String(100)),
        sa.Column("risk_score", sa.Numeric(3, 2)),
        json_list("security_alerts"),
        json_object("details"),
        sa.Column("correlation_id", sa.String(100), index=True),
        sa.Column("ip_address", Inet),
        sa.Column("user_agent", sa.Text),
        sa.CheckConstraint("risk_score BETWEEN 0 AND 1", name="risk_score"),
        postgresql_partition_by="RANGE (created_at)",
    )
    op.create_index("idx_audit_logs_user", "audit_logs", ["user_id", "created_at"])
    op.create_index("idx_audit_logs_resource", "audit_logs", ["resource_type", "resource_id"])
    op.create_index("idx_audit_logs_action", "audit_logs", ["action", "created_at"])
    # Losing an audit row, or failing the work it describes, is worse than a row in the wrong partition.
    op.execute("CREATE TABLE audit_logs_default PARTITION OF audit_logs DEFAULT")
    op.execute(CREATE_PARTITION)
    op.execute("REVOKE ALL ON FUNCTION create_monthly_audit_partition(date) FROM PUBLIC")
    op.execute("""
        SELECT create_monthly_audit_partition((now() AT TIME ZONE 'UTC' + n * interval '1 month')::date)
          FROM generate_series(0, 3) AS n
    """)
    op.execute(PARTITIONS_VIEW)


def downgrade() -> None:
    op.execute("DROP VIEW pg_partitions")
    drop_tables("audit_logs")
    op.execute("DROP FUNCTION create_monthly_audit_partition(date)")
    drop_tables("user_sessions", "user_mfa_settings", "oauth2_clients", "sso_providers")
    op.execute("DROP FUNCTION validate_grant_types(jsonb)")
