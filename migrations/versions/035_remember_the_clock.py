"""The clock remembers how far each entry was decided, which ones are paused, and whose slot a job is.

A new table and a nullable column of job. Its unique index of slots is replaced by one that knows entries: building that
keeps writers of job out while the table is read once, about a second a million rows.
"""

from alembic import op

revision = "035"
down_revision = "034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE schedule_entry (
            name text NOT NULL,
            decided_until timestamptz NOT NULL,
            missed bigint NOT NULL DEFAULT 0,
            counts_since timestamptz NOT NULL DEFAULT now(),
            last_job_id uuid,
            succeeded_at timestamptz,
            overdue_since timestamptz,
            paused_at timestamptz,
            paused_by text,
            pause_reason text,
            CONSTRAINT pk_schedule_entry PRIMARY KEY (name),
            CONSTRAINT ck_schedule_entry_missed CHECK (missed >= 0),
            CONSTRAINT ck_schedule_entry_pause
                CHECK (num_nonnulls(paused_at, paused_by, pause_reason) IN (0, 3) AND pause_reason <> '')
        )
        """
    )
    op.execute("ALTER TABLE job ADD COLUMN entry text")
    # Two entries may be of one kind. A beat of the version before names none: its entry is the kind.
    op.execute(
        """
        CREATE UNIQUE INDEX uq_job_entry_slot ON job ((COALESCE(entry, kind)), scheduled_for)
        WHERE scheduled_for IS NOT NULL
        """
    )
    op.execute("DROP INDEX uq_job_slot")


def downgrade() -> None:
    # Of two entries of one kind that had a slot at the same moment, one loses it; the job stays.
    op.execute(
        """
        UPDATE job SET scheduled_for = NULL WHERE id IN (
            SELECT id FROM (
                SELECT id, row_number() OVER (PARTITION BY kind, scheduled_for ORDER BY entry, id) AS number
                FROM job WHERE scheduled_for IS NOT NULL
            ) AS slot WHERE number > 1
        )
        """
    )
    op.execute("CREATE UNIQUE INDEX uq_job_slot ON job (kind, scheduled_for) WHERE scheduled_for IS NOT NULL")
    op.execute("DROP INDEX uq_job_entry_slot")
    op.execute("ALTER TABLE job DROP COLUMN entry")
    op.execute("DROP TABLE schedule_entry")
