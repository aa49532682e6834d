"""Providers' APIs, how they are called, their fields and where these go; with the first provider's sample rows."""

import sqlalchemy as sa
from alembic import op

from migrations.columns import (
    Json,
    audit_columns,
    bigint_id,
    choice,
    drop_tables,
    flag,
    keep_updated_at,
    reference,
    required,
)

revision = "006"
down_revision = "005"
branch_labels = None
depends_on = None

SCOPES = ("system", "program", "producer")

INTEGRATIONS = """
    INSERT INTO third_party_integration
      (code, name, description, provider_name, api_version, auth_type, status_id, created_by)
    SELECT sample.*, 'oauth2', status.id, users.id
      FROM (VALUES
        ('DCS_HOUSEHOLD_DRIVERS', 'DCS Household Drivers API',
         'Driver verification and household member lookup', 'Data Capture Solutions', '2.7'),
        ('DCS_CRIMINAL', 'DCS Criminal API',
         'Criminal background verification', 'Data Capture Solutions', '1.0'),
        ('DCS_HOUSEHOLD_VEHICLES', 'DCS Household Vehicles API',
         'Vehicle information and verification', 'Data Capture Solutions', '2.3')
      ) AS sample
      JOIN status ON status.code = 'ACTIVE'
      JOIN users ON users.id = '00000000-0000-0000-0000-000000000001'
    ON CONFLICT (code) DO NOTHING
"""
NODES = """
    INSERT INTO integration_node
      (integration_id, node_path, node_name, node_description, data_type,
       is_required, api_version, status_id, created_by)
    SELECT api.id, sample.*, true, '2.7', status.id, users.id
      FROM (VALUES
        ('driver_data.personal_info.first_name', 'First Name', 'Driver first name', 'string'),
        ('driver_data.personal_info.last_name', 'Last Name', 'Driver last name', 'string'),
        ('driver_data.personal_info.date_of_birth', 'Date of Birth', 'Driver date of birth', 'date'),
        ('driver_data.license_info.license_number', 'License Number', 'Driver license number', 'string'),
        ('driver_data.license_info.state_code', 'License State', 'State that issued the license', 'string'),
        ('driver_data.license_info.status', 'License Status', 'Current status of the license', 'string'),
        ('driver_data.address_info.current_address.street_1', 'Address Street 1', 'Primary street address', 'string'),
        ('driver_data.address_info.current_address.city', 'Address City', 'City name', 'string'),
        ('driver_data.address_info.current_address.state', 'Address State', 'State abbreviation', 'string'),
        ('driver_data.address_info.current_address.zip_code', 'Address ZIP', 'ZIP code', 'string'),
        ('verification_status', 'Verification Status', 'Overall verification result', 'string'),
        ('confidence_score', 'Confidence Score', 'Verification confidence percentage', 'integer')
      ) AS sample
      JOIN third_party_integration api ON api.code = 'DCS_HOUSEHOLD_DRIVERS'
      JOIN status ON status.code = 'ACTIVE'
      JOIN users ON users.id = '00000000-0000-0000-0000-000000000001'
    ON CONFLICT (integration_id, node_path, api_version) DO NOTHING
"""


def scope_fits(level: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(
        f"({level} = 'system' AND program_id IS NULL AND producer_id IS NULL)"
        f" OR ({level} = 'program' AND program_id IS NOT NULL AND producer_id IS NULL)"
        f" OR ({level} = 'producer' AND producer_id IS NOT NULL)",
        name="scope",
    )


def upgrade() -> None:
    op.create_table(
        "third_party_integration",
        bigint_id(),
        required("code", sa.String(50), unique=True),
        required("name", sa.String(100)),
        sa.Column("description", sa.Text),
        required("provider_name", sa.String(100)),
        sa.Column("api_version", sa.String(20)),
        sa.Column("base_url", sa.String(255)),
        sa.Column("documentation_url", sa.String(255)),
        flag("is_active", True, index=True),
        choice("auth_type", "api_key", "oauth2", "basic", "bearer"),
        flag("requires_sandbox", False),
        required("default_timeout_seconds", sa.Integer, server_default=sa.text("30")),
        required("default_retry_attempts", sa.Integer, server_default=sa.text("3")),
        *audit_columns(),
        sa.CheckConstraint("default_timeout_seconds > 0", name="default_timeout_seconds"),
        sa.CheckConstraint("default_retry_attempts >= 0", name="default_retry_attempts"),
    )

    op.create_table(
        "integration_configuration",
        bigint_id(),
        reference("third_party_integration", "integration_id"),
        choice("configuration_level", *SCOPES),
        reference("program", "program_id", nullable=True),
        reference("producer", "producer_id", nullable=True),
        choice("environment", "sandbox", "production", server_default="sandbox"),
        required("endpoint_url", sa.String(255)),
        required("auth_config", Json),
        flag("is_enabled", False, index=True),
        flag("is_required", False),
        required("timeout_seconds", sa.Integer, server_default=sa.text("30")),
        required("retry_attempts", sa.Integer, server_default=sa.text("3")),
        required("cache_ttl_hours", sa.Integer, server_default=sa.text("24")),
        *audit_columns(),
        # The environment is part of the key: sandbox and production live side by side in one scope.
        sa.UniqueConstraint(
            "integration_id", "configuration_level", "program_id", "producer_id", "environment",
            name="uq_integration_configuration_scope", postgresql_nulls_not_distinct=True,
        ),
        scope_fits("configuration_level"),
        sa.CheckConstraint("timeout_seconds > 0", name="timeout_seconds"),
        sa.CheckConstraint("retry_attempts >= 0", name="retry_attempts"),
        sa.CheckConstraint("cache_ttl_hours >= 0", name="cache_ttl_hours"),
    )  # fmt: skip
    op.create_index("idx_integration_configuration_level", "integration_configuration", ["configuration_level"])

    op.create_table(
        "integration_node",
        bigint_id(),
        reference("third_party_integration", "integration_id"),
        required("node_path", sa.String(255), index=True),
        required("node_name", sa.String(100)),
        sa.Column("node_description", sa.Text),
        choice("data_type", "string", "integer", "decimal", "boolean", "date", "datetime", "array", "object"),
        flag("is_required", False),
        flag("is_array", False),
        sa.Column("sample_value", sa.Text),
        required("api_version", sa.String(20), index=True),
        sa.Column("deprecated_in_version", sa.String(20)),
        *audit_columns(),
        sa.UniqueConstraint("integration_id", "node_path", "api_version", name="uq_integration_node_version"),
    )

    op.create_table(
        "integration_field_mapping",
        bigint_id(),
        reference("third_party_integration", "integration_id"),
        choice("mapping_scope", *SCOPES, server_default="system"),
        reference("program", "program_id", nullable=True),
        reference("producer", "producer_id", nullable=True),
        reference("integration_node", "source_node_id"),
        required("target_table", sa.String(100)),
        required("target_column", sa.String(100)),
        sa.Column("transformation_rules", Json),
        required("version_number", sa.Integer, server_default=sa.text("1")),
        flag("is_active_version", True),
        reference("integration_field_mapping", "replaced_mapping_id", nullable=True),
        sa.Column("validation_rules", Json),
        *audit_columns(),
        scope_fits("mapping_scope"),
        sa.CheckConstraint("version_number >= 1", name="version_number"),
    )
    mapping, target = "integration_field_mapping", ["target_table", "target_column"]
    scope = ["mapping_scope", "program_id", "producer_id"]
    op.create_index("idx_integration_field_mapping_target", mapping, target)
    op.create_index("idx_integration_field_mapping_scope", mapping, scope)
    op.create_index("idx_integration_field_mapping_version", mapping, ["version_number", "is_active_version"])
    # Any number of old versions, one active: a plain key over is_active_version would stop at the second old one.
    op.create_index(
        "uq_integration_field_mapping_active", mapping, ["integration_id", "source_node_id", *target, *scope],
        unique=True, postgresql_nulls_not_distinct=True, postgresql_where=sa.text("is_active_version"),
    )  # fmt: skip
    op.create_unique_constraint(
        "uq_integration_field_mapping_version",
        mapping,
        ["integration_id", "source_node_id", *target, *scope, "version_number"],
        postgresql_nulls_not_distinct=True,
    )

    keep_updated_at("third_party_integration", "integration_configuration", "integration_node", mapping)
    op.execute(INTEGRATIONS)
    op.execute(NODES)


def downgrade() -> None:
    drop_tables("integration_field_mapping", "integration_node", "integration_configuration", "third_party_integration")
