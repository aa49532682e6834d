"""Requests that a policy wants masked once they are over know when that is; offers of household members get a mark as
what else is masked; a field of an answer that is declared personal has a path that masking can find.

Columns without a default, a trigger and a function: short locks. The indexes hold a table's writers up while they are
built: that of requests is empty at first, but reads the table, for about a second a million rows.
"""

import sqlalchemy as sa
from alembic import op

from migrations.columns import Instant

revision = "039"
down_revision = "038"
branch_labels = None
depends_on = None


VACUUMED_SOON = ("integration_request", "integration_verification_result", "quotes", "household_member_offer")
"""A masked row's old version lies in its table until VACUUM comes, by default once a fifth of the table is dead."""


def upgrade() -> None:
    op.add_column("integration_request", sa.Column("mask_at", Instant))
    op.create_index(
        "idx_integration_request_mask_at",
        "integration_request",
        ["mask_at", "id"],
        postgresql_where=sa.text("contains_pii AND NOT pii_masked AND mask_at IS NOT NULL"),
    )
    op.execute(MASK_WHEN_OVER)
    op.add_column("household_member_offer", sa.Column("pii_rule_version", sa.Integer))
    op.create_index(
        "idx_household_member_offer_unmasked",
        "household_member_offer",
        ["created_at", "id"],
        postgresql_where=sa.text("pii_rule_version IS NULL"),
    )
    op.execute(UNMARK_OFFERS)
    for table in VACUUMED_SOON:
        op.execute(
            f"ALTER TABLE {table} SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500)"
        )
    op.create_check_constraint("personal_path", "integration_node", PERSONAL_PATH)


def downgrade() -> None:
    op.drop_constraint(op.f("ck_integration_node_personal_path"), "integration_node")
    for table in VACUUMED_SOON:
        op.execute(f"ALTER TABLE {table} RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold)")
    op.execute("DROP TRIGGER trg_household_member_offer_unmasked ON household_member_offer")
    op.drop_index("idx_household_member_offer_unmasked", "household_member_offer")
    op.drop_column("household_member_offer", "pii_rule_version")
    op.execute("DROP FUNCTION mask_when_over(bigint[])")
    op.drop_index("idx_integration_request_mask_at", "integration_request")
    op.drop_column("integration_request", "mask_at")


# Called at the end of the transaction in which requests end. Nothing happens unless the policy says 0 days. An answer
# that others may be answered with waits until that time is over; what has none is due at once. One job a minute does
# all that is due by then, however many requests end.
MASK_WHEN_OVER = """
    CREATE FUNCTION mask_when_over(p_requests bigint[]) RETURNS void LANGUAGE plpgsql AS $$
    DECLARE
      minute timestamptz;
    BEGIN
      IF (SELECT mask_after_days FROM data_retention_policies WHERE table_name = 'integration_request')
         IS DISTINCT FROM 0 THEN
        RETURN;
      END IF;
      FOR minute IN
        WITH over AS (
          UPDATE integration_request AS r
             SET mask_at = greatest(now(), (SELECT max(q.answer_until) FROM asked_question AS q
                                             WHERE q.asker = r.id AND q.answered_by = r.id))
           WHERE r.id = ANY (p_requests) AND r.contains_pii AND r.request_status IN ('completed', 'failed', 'timeout')
          RETURNING r.mask_at
        )
        SELECT DISTINCT date_trunc('minute', mask_at) + interval '1 minute' FROM over ORDER BY 1
      LOOP
        PERFORM insert_job('masking.completed', 'maintenance', p_run_at => minute,
                           p_idempotency_key => extract(epoch FROM minute)::bigint::text,
                           p_idempotency_life => minute - now() + interval '1 hour');
      END LOOP;
    END $$
"""

# A later answer may name the same person again: see the marks of revision 033.
UNMARK_OFFERS = """
    CREATE TRIGGER trg_household_member_offer_unmasked BEFORE UPDATE ON household_member_offer FOR EACH ROW
    WHEN (OLD.pii_rule_version IS NOT NULL AND NEW.pii_rule_version IS NOT NULL AND (
      OLD.first_name IS DISTINCT FROM NEW.first_name OR OLD.middle_name IS DISTINCT FROM NEW.middle_name
      OR OLD.last_name IS DISTINCT FROM NEW.last_name OR OLD.date_of_birth IS DISTINCT FROM NEW.date_of_birth
      OR OLD.license_number IS DISTINCT FROM NEW.license_number
      OR OLD.license_number_bidx IS DISTINCT FROM NEW.license_number_bidx
    ))
    EXECUTE FUNCTION unmark_masked()
"""

PERSONAL_PATH = r"pii_class IS NULL OR node_path ~ '^[\w-]+(\[\*?\])*(\.[\w-]+(\[\*?\])*)*$'"
