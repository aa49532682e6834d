"""A question is closed where it stands: pages keep room for each row's second version, which then needs no entries in
the four indexes, and the first is cleared away without a vacuum.

Pages that are full already stay so until their rows go. The table is locked for a moment.
"""

from alembic import op

revision = "045"
down_revision = "044"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE asked_question SET (fillfactor = 50)")


def downgrade() -> None:
    op.execute("ALTER TABLE asked_question RESET (fillfactor)")
