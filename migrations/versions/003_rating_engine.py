"""Rates, discounts, surcharges, and what states forbid."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.columns import (
    StateCode,
    choice,
    drop_tables,
    flag,
    json_object,
    keep_updated_at,
    required,
    timestamps,
    uuid_id,
)

revision = "003"
down_revision = "002"
branch_labels = None
depends_on = None

PRODUCTS = ("auto", "home", "renters", "life")
RATE_KEY = "state || '|' || product_type || '|' || coverage_type"


def rule_table(name: str, amount: str, conditions: str, *checks: sa.CheckConstraint) -> None:
    op.create_table(
        name,
        uuid_id(),
        required("code", sa.String(50), unique=True),
        required("rule_name", sa.String(100), unique=True),
        choice(f"{amount}_type", "percentage", "fixed"),
        required(f"{amount}_value", sa.Numeric(12, 4)),
        json_object(conditions),
        flag("stackable", True),
        required("priority", sa.Integer, server_default=sa.text("100")),
        sa.Column("max_amount", sa.Numeric(12, 2)),
        required("effective_date", sa.Date, server_default=sa.func.current_date()),
        sa.Column("expiration_date", sa.Date),
        *timestamps(),
        sa.CheckConstraint(f"{amount}_value > 0", name=f"{amount}_value"),
        sa.CheckConstraint("expiration_date > effective_date", name="dates"),
        sa.CheckConstraint("max_amount > 0", name="max_amount"),
        *checks,
    )


def upgrade() -> None:
    # GiST indexes ranges without an extension, but not text: a range of text with one member stands for the key.
    op.execute("CREATE TYPE text_range AS RANGE (subtype = text)")
    op.create_table(
        "rate_tables",
        uuid_id(),
        required("state", StateCode),
        choice("product_type", *PRODUCTS),
        required("coverage_type", sa.String(50)),
        required("base_rate", sa.Numeric(12, 6)),
        json_object("territory_factors"),
        json_object("vehicle_factors"),
        json_object("driver_factors"),
        json_object("credit_factors"),
        json_object("rounding"),
        sa.Column("min_premium", sa.Numeric(12, 2)),
        sa.Column("max_premium", sa.Numeric(12, 2)),
        required("effective_date", sa.Date),
        sa.Column("expiration_date", sa.Date),
        *timestamps(),
        sa.CheckConstraint("base_rate >= 0", name="base_rate"),
        sa.CheckConstraint("expiration_date > effective_date", name="dates"),
        sa.CheckConstraint("min_premium <= max_premium", name="premiums"),
        sa.CheckConstraint("state ~ '^[A-Z]{2}$'", name="state"),
        sa.UniqueConstraint("state", "product_type", "coverage_type", "effective_date", name="uq_rate_tables_version"),
        postgresql.ExcludeConstraint(
            (sa.text(f"text_range({RATE_KEY}, {RATE_KEY}, '[]')"), "&&"),
            (sa.text("daterange(effective_date, expiration_date)"), "&&"),
            name="ex_rate_tables_no_overlap",
            using="gist",
        ),
    )
    rule_table(
        "discount_rules",
        "discount",
        "eligibility_rules",
        sa.CheckConstraint("discount_type <> 'percentage' OR discount_value <= 100", name="discount_percentage"),
    )
    rule_table("surcharge_rules", "surcharge", "trigger_conditions")
    op.create_table(
        "state_rating_rules",
        uuid_id(),
        required("state", StateCode),
        choice("product_type", *PRODUCTS),
        required("factor", sa.String(50)),
        choice("restriction", "prohibited", "new_business_only", "no_renewal_increase", "capped"),
        sa.Column("min_factor", sa.Numeric(9, 4)),
        sa.Column("max_factor", sa.Numeric(9, 4)),
        required("legal_basis", sa.Text),
        required("effective_date", sa.Date),
        sa.Column("expiration_date", sa.Date),
        *timestamps(),
        sa.CheckConstraint("expiration_date > effective_date", name="dates"),
        sa.CheckConstraint("min_factor <= max_factor", name="factors"),
        sa.CheckConstraint(
            "restriction <> 'capped' OR min_factor IS NOT NULL OR max_factor IS NOT NULL", name="capped"
        ),
        sa.CheckConstraint("state ~ '^[A-Z]{2}$'", name="state"),
        sa.UniqueConstraint("state", "product_type", "factor", "effective_date", name="uq_state_rating_rules_version"),
    )
    keep_updated_at("rate_tables", "discount_rules", "surcharge_rules", "state_rating_rules")


def downgrade() -> None:
    drop_tables("state_rating_rules", "surcharge_rules", "discount_rules", "rate_tables")
    op.execute("DROP TYPE text_range")
