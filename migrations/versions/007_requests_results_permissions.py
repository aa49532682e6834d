"""Questions to providers, their answers, and who may do what with an integration."""

import sqlalchemy as sa
from alembic import op

from migrations.columns import (
    Instant,
    Json,
    audit_columns,
    bigint_id,
    choice,
    drop_tables,
    flag,
    keep_updated_at,
    reference,
    required,
    user,
)

revision = "007"
down_revision = "006"
branch_labels = None
depends_on = None

TARGETS = ("driver", "vehicle", "address")

# A result points into one of three tables, which no foreign key can do. Deleting what it points at is refused with a
# foreign key's own error code; once a statement, however many rows it deletes.
REFUSE_DELETE = """
    CREATE FUNCTION refuse_delete_of_verified_entity() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
      entity_id bigint;
    BEGIN
      SELECT removed.id INTO entity_id
        FROM removed
        JOIN integration_verification_result r ON r.target_entity_type = TG_ARGV[0] AND r.target_entity_id = removed.id
       LIMIT 1;
      IF FOUND THEN
        RAISE foreign_key_violation USING
          MESSAGE = format('%s %s still has verification results', TG_ARGV[0], entity_id),
          HINT = 'Delete the rows of integration_verification_result that point at it first.';
      END IF;
      RETURN NULL;
    END $$
"""


def upgrade() -> None:
    op.create_table(
        "integration_request",
        bigint_id(),
        reference("third_party_integration", "integration_id"),
        reference("integration_configuration", "configuration_id"),
        reference("quotes", "quote_id", sa.Uuid, nullable=True),
        reference("driver", "driver_id", nullable=True),
        user("user_id"),
        required("endpoint", sa.String(255)),
        required("http_method", sa.String(10), server_default="POST"),
        sa.Column("request_headers", Json),
        sa.Column("request_body", Json),
        sa.Column("response_status_code", sa.Integer),
        sa.Column("response_headers", Json),
        sa.Column("response_body", Json),
        sa.Column("response_time_ms", sa.Integer),
        choice(
            "request_status", "pending", "sent", "completed", "failed", "timeout",
            server_default="pending", index=True,
        ),
        sa.Column("error_message", sa.Text),
        required("retry_count", sa.Integer, server_default=sa.text("0")),
        sa.Column("external_transaction_id", sa.String(100), index=True),
        required("correlation_id", sa.String(100), index=True),
        flag("contains_pii", True),
        flag("pii_masked", False),
        sa.Column("retention_until", sa.Date),
        *audit_columns(),
        sa.CheckConstraint("retry_count >= 0", name="retry_count"),
        sa.CheckConstraint("response_time_ms >= 0", name="response_time_ms"),
    )  # fmt: skip
    request = "integration_request"
    op.create_index("idx_integration_request_retention", request, ["retention_until"])
    op.create_index("idx_integration_request_created_at", request, ["created_at"])
    op.create_index(
        "idx_integration_request_overdue", request, ["retention_until", "id"],
        postgresql_where=sa.text("retention_until IS NOT NULL"),
    )  # fmt: skip
    op.create_index(
        "idx_integration_request_unmasked", request, ["created_at", "id"],
        postgresql_where=sa.text("contains_pii AND NOT pii_masked"),
    )  # fmt: skip

    op.create_table(
        "integration_verification_result",
        bigint_id(),
        reference("integration_request", "request_id"),
        choice("verification_type", "license", "address", "identity", "vehicle", "household", "criminal", index=True),
        choice("target_entity_type", *TARGETS),
        required("target_entity_id", sa.BigInteger),
        choice("verification_status", "verified", "partial", "failed", "not_found", "error", index=True),
        sa.Column("confidence_score", sa.Numeric(5, 2)),
        sa.Column("verified_data", Json),
        sa.Column("discrepancies", Json),
        sa.Column("cache_expires_at", Instant),
        flag("is_cached_result", False),
        sa.Column("external_verification_id", sa.String(100), index=True),
        *audit_columns(),
        sa.CheckConstraint("confidence_score BETWEEN 0 AND 100", name="confidence_score"),
    )
    result, target = "integration_verification_result", ["target_entity_type", "target_entity_id"]
    op.create_index(f"idx_{result}_target_entity", result, target)
    op.create_index(f"idx_{result}_cache_expires", result, ["cache_expires_at"])
    op.create_index(
        f"idx_{result}_cached_answer", result, [*target, "verification_type", sa.text("cache_expires_at DESC")]
    )
    op.execute(REFUSE_DELETE)
    for entity in TARGETS:
        op.execute(
            f"CREATE TRIGGER trg_{entity}_verified AFTER DELETE ON {entity} REFERENCING OLD TABLE AS removed"
            f" FOR EACH STATEMENT EXECUTE FUNCTION refuse_delete_of_verified_entity('{entity}')"
        )

    op.create_table(
        "integration_permission",
        bigint_id(),
        reference("third_party_integration", "integration_id"),
        choice("permission_type", "user", "role", "group"),
        required("permission_target_id", sa.String(36)),
        flag("can_configure", False),
        flag("can_view_raw_responses", False),
        flag("can_manage_mappings", False),
        flag("can_enable_disable", False),
        choice("scope_level", "system", "program", "producer", server_default="producer"),
        reference("program", "program_id", nullable=True),
        reference("producer", "producer_id", nullable=True),
        *audit_columns(),
        sa.UniqueConstraint(
            "integration_id", "permission_type", "permission_target_id", "scope_level", "program_id", "producer_id",
            name="uq_integration_permission", postgresql_nulls_not_distinct=True,
        ),
        sa.CheckConstraint(
            "(scope_level = 'system' AND program_id IS NULL AND producer_id IS NULL)"
            " OR (scope_level = 'program' AND program_id IS NOT NULL AND producer_id IS NULL)"
            " OR (scope_level = 'producer' AND producer_id IS NOT NULL)",
            name="scope",
        ),
        sa.CheckConstraint(
            "permission_type <> 'user'"
            " OR permission_target_id ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'",
            name="target",
        ),
    )  # fmt: skip
    permission = "integration_permission"
    op.create_index(f"idx_{permission}_permission_target", permission, ["permission_type", "permission_target_id"])
    op.create_index(f"idx_{permission}_scope", permission, ["scope_level", "program_id", "producer_id"])
    keep_updated_at(request, result, permission)


def downgrade() -> None:
    for entity in TARGETS:
        op.execute(f"DROP TRIGGER trg_{entity}_verified ON {entity}")
    op.execute("DROP FUNCTION refuse_delete_of_verified_entity()")
    drop_tables("integration_permission", "integration_verification_result", "integration_request")
