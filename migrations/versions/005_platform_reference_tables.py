"""Statuses, programs, producers, and the household of a quote: drivers, licences, addresses, vehicles."""

import sqlalchemy as sa
from alembic import op

from migrations.columns import (
    Hash,
    StateCode,
    audit_columns,
    bigint_id,
    drop_tables,
    flag,
    keep_updated_at,
    reference,
    required,
    timestamps,
)

revision = "005"
down_revision = "004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "status",
        bigint_id(),
        required("code", sa.String(50), unique=True),
        required("name", sa.String(100)),
        sa.Column("description", sa.Text),
        *timestamps(),
    )
    op.execute("""
        INSERT INTO status (code, name, description) VALUES
          ('ACTIVE', 'Active', 'In use'),
          ('INACTIVE', 'Inactive', 'Kept, not used at present'),
          ('DELETED', 'Deleted', 'Removed by a user, kept until its retention ends')
        ON CONFLICT (code) DO NOTHING
    """)
    op.create_table(
        "program",
        bigint_id(),
        required("code", sa.String(50), unique=True),
        required("name", sa.String(100)),
        sa.Column("effective_date", sa.Date),
        sa.Column("expiration_date", sa.Date),
        *audit_columns(),
        sa.CheckConstraint("expiration_date > effective_date", name="dates"),
    )
    op.create_table(
        "producer",
        bigint_id(),
        required("producer_code", sa.String(50), unique=True),
        required("name", sa.String(100)),
        *audit_columns(),
    )

    op.create_table(
        "address",
        bigint_id(),
        sa.Column("street_1", sa.String(255)),
        sa.Column("street_2", sa.String(255)),
        sa.Column("city", sa.String(100)),
        sa.Column("state", StateCode),
        sa.Column("zip_code", sa.String(10)),
        sa.Column("zip_4", sa.String(4)),
        *audit_columns(),
    )
    op.create_table(
        "driver",
        bigint_id(),
        reference("quotes", "quote_id", sa.Uuid, nullable=True),
        sa.Column("first_name", sa.String(100)),
        sa.Column("last_name", sa.String(100)),
        sa.Column("date_of_birth", sa.Date),
        sa.Column("license_id", sa.BigInteger, index=True),
        reference("address", "address_id", nullable=True),
        flag("is_named_insured", False),
        *audit_columns(),
    )
    op.create_table(
        "license",
        bigint_id(),
        reference("driver", "driver_id", nullable=True),
        sa.Column("license_number", sa.Text),
        sa.Column("license_number_bidx", Hash),
        sa.Column("state_code", StateCode),
        sa.Column("license_type", sa.String(20)),
        sa.Column("issue_date", sa.Date),
        sa.Column("expiration_date", sa.Date),
        *audit_columns(),
    )
    op.create_index("idx_license_number_bidx", "license", ["license_number_bidx"])
    # The two tables point at each other, so one of the keys comes last.
    op.create_foreign_key("fk_driver_license_id", "driver", "license", ["license_id"], ["id"], ondelete="SET NULL")
    op.create_table(
        "vehicle",
        bigint_id(),
        reference("quotes", "quote_id", sa.Uuid, nullable=True),
        sa.Column("vin", sa.String(17), index=True),
        sa.Column("model_year", sa.Integer),
        sa.Column("make", sa.String(50)),
        sa.Column("model", sa.String(50)),
        *audit_columns(),
    )
    keep_updated_at("status", "program", "producer", "address", "driver", "license", "vehicle")


def downgrade() -> None:
    op.drop_constraint("fk_driver_license_id", "driver")
    drop_tables("vehicle", "license", "driver", "address", "producer", "program", "status")
