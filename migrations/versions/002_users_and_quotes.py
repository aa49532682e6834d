"""Users with the system user among them, and quotes with their numbers."""

import sqlalchemy as sa
from alembic import op

from migrations.columns import (
    Instant,
    Json,
    StateCode,
    choice,
    drop_tables,
    flag,
    keep_updated_at,
    reference,
    required,
    timestamps,
    user,
    uuid_id,
)

revision = "002"
down_revision = "001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "users",
        uuid_id(),
        required("email", sa.String(255)),
        sa.Column("password_hash", sa.String(255)),
        required("first_name", sa.String(100)),
        required("last_name", sa.String(100)),
        choice("role", "agent", "underwriter", "admin", "system", server_default="agent", index=True),
        flag("is_active", True, index=True),
        *timestamps(),
    )
    op.create_index("idx_users_email", "users", [sa.text("lower(email)")], unique=True)
    # No password and an address that can not exist (RFC 2606): nobody logs in as the system.
    op.execute("""
        INSERT INTO users (id, email, first_name, last_name, role)
        VALUES ('00000000-0000-0000-0000-000000000001', 'system@platform.invalid', 'System', 'User', 'system')
        ON CONFLICT DO NOTHING
    """)

    op.execute("CREATE SEQUENCE quote_number_seq")
    # Unique and rising, not gapless: a rolled back quote keeps its number. More than seven digits are not cut.
    op.execute("""
        CREATE FUNCTION generate_quote_number() RETURNS text LANGUAGE sql VOLATILE AS $$
          SELECT 'QUOT-' || to_char(now() AT TIME ZONE 'UTC', 'YYYY') || '-'
                 || lpad(n::text, greatest(7, length(n::text)), '0')
            FROM nextval('quote_number_seq') AS n
        $$
    """)
    op.create_table(
        "quotes",
        uuid_id(),
        required("quote_number", sa.String(30), server_default=sa.text("generate_quote_number()")),
        reference("customers", "customer_id", sa.String(36), nullable=True),
        choice("product_type", "auto", "home", "renters", "life"),
        required("state", StateCode),
        choice(
            "status", "draft", "calculating", "quoted", "expired", "bound", "declined",
            server_default="draft", index=True,
        ),
        required("version", sa.Integer, server_default=sa.text("1")),
        reference("quotes", "parent_quote_id", sa.Uuid, nullable=True),
        reference("policies", "converted_to_policy_id", sa.Uuid, nullable=True),
        sa.Column("vehicle_info", Json),
        sa.Column("property_info", Json),
        sa.Column("drivers", Json),
        sa.Column("coverage_selections", Json),
        sa.Column("ai_risk_score", sa.Numeric(3, 2)),
        sa.Column("conversion_probability", sa.Numeric(3, 2)),
        sa.Column("effective_date", sa.Date),
        sa.Column("expires_at", Instant, index=True),
        user("created_by", nullable=True),
        user("updated_by", nullable=True),
        *timestamps(),
        sa.CheckConstraint("ai_risk_score BETWEEN 0 AND 1", name="ai_risk_score"),
        sa.CheckConstraint("conversion_probability BETWEEN 0 AND 1", name="conversion_probability"),
        sa.CheckConstraint("state ~ '^[A-Z]{2}$'", name="state"),
        sa.CheckConstraint("version >= 1", name="version"),
    )  # fmt: skip
    op.create_index("idx_quotes_quote_number", "quotes", ["quote_number"], unique=True)
    op.create_index("idx_quotes_product_type_state", "quotes", ["product_type", "state"])
    for document in ("vehicle_info", "coverage_selections"):
        op.create_index(f"idx_quotes_{document}", "quotes", [document], postgresql_using="gin")

    keep_updated_at("users", "quotes")


def downgrade() -> None:
    drop_tables("quotes")
    op.execute("DROP FUNCTION generate_quote_number()")
    op.execute("DROP SEQUENCE quote_number_seq")
    drop_tables("users")
