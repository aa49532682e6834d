"""What verification found, on the household's own rows; retention policies, holds and records; masking rules."""

import sqlalchemy as sa
from alembic import op

from migrations.columns import (
    Hash,
    Instant,
    bigint_id,
    choice,
    drop_tables,
    flag,
    json_object,
    keep_updated_at,
    made_at,
    reference,
    required,
    timestamps,
    user,
    uuid_id,
)

revision = "008"
down_revision = "007"
branch_labels = None
depends_on = None

DATA_CLASSES = (
    "name", "birth_date", "government_id", "license", "street", "region", "contact", "vehicle_id", "criminal",
    "physical", "network", "credential", "document", "free_text",
)  # fmt: skip

# Seven years: the longest of the states' rules is six years after a policy ends, and one more for its last claim.
# Quotes, policies and claims are the business's own records: a person has to switch their policies on.
POLICIES = """
    INSERT INTO data_retention_policies
      (table_name, retention_days, mask_after_days, date_column, action, enabled, legal_basis)
    VALUES
      ('integration_request', 2555, 90, 'created_at', 'delete', true,
       'States require a rated policy to be explainable up to six years after it ends; one year is added.'
       ' Personal data in the exchange is not needed for that and is masked early.'),
      ('integration_verification_result', 2555, 90, 'created_at', 'delete', true,
       'Goes with the request it answers.'),
      ('quotes', 2555, 1095, 'created_at', 'delete', false,
       'Market conduct reviews look at declined and unsold quotes; names are not needed after three years.'),
      ('policies', 2555, NULL, 'expiration_date', 'delete', false,
       'Policy records are kept five to six years after the policy ends, depending on the state; one year is added.'),
      ('claims', 2555, NULL, 'closed_at', 'delete', false,
       'The period of a claim record starts when the claim is closed.'),
      ('audit_logs', 2555, NULL, 'created_at', 'partition', true,
       'Evidence for security and market conduct audits; whole months are removed at once.'),
      ('oauth2_token_logs', 730, NULL, 'created_at', 'delete', true,
       'Evidence for security audits over two reporting years.'),
      ('user_sessions', 90, NULL, 'expires_at', 'delete', true,
       'Long enough to look into a break-in that is reported late.')
    ON CONFLICT (table_name) DO NOTHING
"""


def enhance_household() -> None:
    op.add_column(
        "driver",
        choice(
            "external_verification_status", "not_verified", "verified", "partial", "failed",
            server_default="not_verified",
        ),
    )  # fmt: skip
    op.add_column("driver", sa.Column("last_verification_date", Instant))
    op.add_column("driver", sa.Column("verification_source", sa.String(100)))
    op.add_column("driver", sa.Column("verification_confidence", sa.Numeric(5, 2)))
    op.add_column("driver", sa.Column("external_driver_id", sa.String(100)))
    op.create_check_constraint("verification_confidence", "driver", "verification_confidence BETWEEN 0 AND 100")
    op.create_index("idx_driver_verification_status", "driver", ["external_verification_status"])
    op.create_index("idx_driver_last_verification", "driver", ["last_verification_date"])
    op.create_index("idx_driver_external_id", "driver", ["external_driver_id"])

    op.add_column(
        "license",
        choice(
            "external_verification_status", "not_verified", "verified", "invalid", "expired", "suspended",
            server_default="not_verified",
        ),
    )  # fmt: skip
    op.add_column("license", sa.Column("last_verification_date", Instant))
    op.add_column("license", sa.Column("verification_source", sa.String(100)))
    op.add_column("license", sa.Column("external_license_status", sa.String(50)))
    op.add_column("license", sa.Column("verification_notes", sa.Text))
    op.create_index("idx_license_external_verification", "license", ["external_verification_status"])
    op.create_index("idx_license_last_verification", "license", ["last_verification_date"])

    op.add_column("address", sa.Column("standardized_by_source", sa.String(100)))
    op.add_column("address", sa.Column("standardization_confidence", sa.Numeric(5, 2)))
    op.add_column(
        "address",
        choice("delivery_point_validation", "valid", "invalid", "unknown", server_default="unknown"),
    )
    op.add_column("address", sa.Column("last_standardization_date", Instant))
    op.create_check_constraint("standardization_confidence", "address", "standardization_confidence BETWEEN 0 AND 100")
    op.create_index("idx_address_standardized_by", "address", ["standardized_by_source"])
    op.create_index("idx_address_delivery_validation", "address", ["delivery_point_validation"])


def create_retention() -> None:
    op.create_table(
        "data_retention_policies",
        bigint_id(),
        required("table_name", sa.String(63), unique=True),
        required("version", sa.Integer, server_default=sa.text("1")),
        required("retention_days", sa.Integer),
        sa.Column("mask_after_days", sa.Integer),
        required("date_column", sa.String(63)),
        choice("action", "delete", "partition", server_default="delete"),
        required("batch_size", sa.Integer, server_default=sa.text("5000")),
        flag("enabled", True),
        required("legal_basis", sa.Text),
        *timestamps(),
        sa.CheckConstraint("retention_days > 0", name="retention_days"),
        sa.CheckConstraint("mask_after_days >= 0 AND mask_after_days < retention_days", name="mask_after_days"),
        sa.CheckConstraint("batch_size BETWEEN 1 AND 50000", name="batch_size"),
        sa.CheckConstraint("version >= 1", name="version"),
    )
    op.create_table(
        "legal_holds",
        bigint_id(),
        choice(
            "scope_type", "customer", "policy", "claim", "quote", "driver", "vehicle", "address", "user",
            "integration_request", "audit_month",
        ),
        required("scope_id", sa.String(36)),
        required("reason", sa.Text),
        user("placed_by"),
        made_at("placed_at"),
        user("released_by", nullable=True),
        sa.Column("released_at", Instant),
        sa.CheckConstraint("(released_by IS NULL) = (released_at IS NULL)", name="release"),
        sa.CheckConstraint("scope_type <> 'audit_month' OR scope_id ~ '^[0-9]{4}_[0-9]{2}$'", name="audit_month"),
    )  # fmt: skip
    op.create_index(
        "idx_legal_holds_open",
        "legal_holds",
        ["scope_type", "scope_id"],
        postgresql_where=sa.text("released_at IS NULL"),
    )
    op.create_table(
        "retention_runs",
        uuid_id(),
        sa.Column("job_id", sa.Uuid, index=True),
        user("actor_id"),
        flag("is_dry_run", False),
        choice("state", "running", "finished", "stopped", "failed", server_default="running"),
        made_at("started_at", index=True),
        sa.Column("finished_at", Instant),
    )
    op.create_table(
        "retention_run_items",
        bigint_id(),
        reference("retention_runs", "run_id", sa.Uuid),
        required("table_name", sa.String(63)),
        required("policy_version", sa.Integer),
        required("batch_number", sa.Integer),
        required("cutoff", Instant),
        required("deleted_count", sa.Integer, server_default=sa.text("0")),
        required("held_count", sa.Integer, server_default=sa.text("0")),
        required("skipped_count", sa.Integer, server_default=sa.text("0")),
        sa.Column("first_id", sa.String(36)),
        sa.Column("last_id", sa.String(36)),
        sa.Column("ids_sha256", Hash),
        sa.Column("duration_ms", sa.Integer),
        made_at(),
        sa.UniqueConstraint("run_id", "table_name", "batch_number", name="uq_retention_run_items_batch"),
        sa.CheckConstraint("deleted_count >= 0 AND held_count >= 0 AND skipped_count >= 0", name="counts"),
    )
    op.execute(POLICIES)


def create_masking() -> None:
    op.create_table(
        "pii_masking_rules",
        bigint_id(),
        required("version", sa.Integer),
        required("priority", sa.Integer, server_default=sa.text("100")),
        choice("match_type", "path", "glob", "key", "value"),
        required("pattern", sa.String(255)),
        sa.Column("validator", sa.String(50)),
        choice("operator", "remove", "redact", "partial", "hmac", "date_year", "bucket", "truncate_ip", "keep"),
        json_object("params"),
        choice("data_class", *DATA_CLASSES),
        *timestamps(),
        sa.UniqueConstraint("version", "match_type", "pattern", name="uq_pii_masking_rules_pattern"),
        sa.CheckConstraint("version >= 1", name="version"),
    )
    op.add_column("integration_node", choice("pii_class", *DATA_CLASSES, nullable=True))
    op.add_column("integration_request", sa.Column("pii_rule_version", sa.Integer))


def upgrade() -> None:
    enhance_household()
    create_retention()
    create_masking()
    keep_updated_at("data_retention_policies", "pii_masking_rules")


def downgrade() -> None:
    op.drop_column("integration_request", "pii_rule_version")
    op.drop_column("integration_node", "pii_class")
    drop_tables("pii_masking_rules", "retention_run_items", "retention_runs", "legal_holds", "data_retention_policies")
    added = {
        "address": [
            "standardized_by_source", "standardization_confidence", "delivery_point_validation",
            "last_standardization_date",
        ],
        "license": [
            "external_verification_status", "last_verification_date", "verification_source",
            "external_license_status", "verification_notes",
        ],
        "driver": [
            "external_verification_status", "last_verification_date", "verification_source",
            "verification_confidence", "external_driver_id",
        ],
    }  # fmt: skip
    for table, columns in added.items():
        for column in columns:
            op.drop_column(table, column)
