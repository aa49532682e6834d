"""A configuration's timeout is at most 90 seconds: a longer call does not fit into one run of a job.

Longer ones were refused when their jobs ran; they are set to 90. The table has a few hundred rows: a lock of
milliseconds.
"""

from alembic import op

revision = "020"
down_revision = "019"
branch_labels = None
depends_on = None

NAME = "ck_integration_configuration_timeout_seconds"


def upgrade() -> None:
    op.execute("UPDATE integration_configuration SET timeout_seconds = 90 WHERE timeout_seconds > 90")
    replace_check("timeout_seconds BETWEEN 1 AND 90")


def downgrade() -> None:
    replace_check("timeout_seconds > 0")


def replace_check(condition: str) -> None:
    op.execute(f"ALTER TABLE integration_configuration DROP CONSTRAINT {NAME}")
    op.execute(f"ALTER TABLE integration_configuration ADD CONSTRAINT {NAME} CHECK ({condition})")
