"""Customers, policies and claims, and the function that keeps `updated_at`."""

import sqlalchemy as sa
from alembic import op

from migrations.columns import (
    Instant,
    choice,
    drop_tables,
    json_object,
    keep_updated_at,
    made_at,
    reference,
    required,
    timestamps,
    uuid_id,
)

revision = "001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          NEW.updated_at := CURRENT_TIMESTAMP;
          RETURN NEW;
        END $$
    """)
    op.create_table(
        "customers",
        sa.Column("id", sa.String(36), server_default=sa.text("(gen_random_uuid())::text"), primary_key=True),
        sa.Column("external_id", sa.String(100)),
        json_object("data"),
        *timestamps(),
    )
    op.create_index("idx_customers_external_id", "customers", ["external_id"], unique=True)
    op.create_index("idx_customers_data", "customers", ["data"], postgresql_using="gin")

    op.create_table(
        "policies",
        uuid_id(),
        required("policy_number", sa.String(50)),
        reference("customers", "customer_id", sa.String(36)),
        choice(
            "status", "active", "inactive", "cancelled", "expired", "pending",
            server_default="pending", index=True,
        ),
        required("effective_date", sa.Date),
        required("expiration_date", sa.Date),
        json_object("data"),
        *timestamps(),
        sa.CheckConstraint("expiration_date > effective_date", name="dates"),
    )  # fmt: skip
    op.create_index("idx_policies_policy_number", "policies", ["policy_number"], unique=True)
    op.create_index("idx_policies_date_range", "policies", ["effective_date", "expiration_date"])
    op.create_index("idx_policies_data", "policies", ["data"], postgresql_using="gin")

    op.create_table(
        "claims",
        uuid_id(),
        required("claim_number", sa.String(50)),
        reference("policies", "policy_id", sa.Uuid),
        choice(
            "status", "submitted", "under_review", "approved", "denied", "withdrawn", "closed",
            server_default="submitted", index=True,
        ),
        required("amount_claimed", sa.Numeric(12, 2)),
        sa.Column("amount_approved", sa.Numeric(12, 2)),
        made_at("submitted_at", index=True),
        sa.Column("closed_at", Instant),
        json_object("data"),
        *timestamps(),
        sa.CheckConstraint("amount_claimed >= 0", name="amount_claimed"),
        sa.CheckConstraint("amount_approved >= 0", name="amount_approved"),
    )  # fmt: skip
    op.create_index("idx_claims_claim_number", "claims", ["claim_number"], unique=True)
    op.create_index("idx_claims_data", "claims", ["data"], postgresql_using="gin")

    keep_updated_at("customers", "policies", "claims")


def downgrade() -> None:
    drop_tables("claims", "policies", "customers")
    op.execute("DROP FUNCTION update_updated_at_column()")
