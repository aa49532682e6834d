"""A request knows for which program and producer it was asked: their field mappings count for its answer.

Revision 023 brings the enqueue function that fills them. Two columns without defaults and without foreign keys, whose
check would hold up a live table: a lock of milliseconds.
"""

import sqlalchemy as sa
from alembic import op

revision = "018"
down_revision = "017"
branch_labels = None
depends_on = None

TABLE = "integration_request"


def upgrade() -> None:
    op.add_column(TABLE, sa.Column("program_id", sa.BigInteger))
    op.add_column(TABLE, sa.Column("producer_id", sa.BigInteger))


def downgrade() -> None:
    op.drop_column(TABLE, "producer_id")
    op.drop_column(TABLE, "program_id")
