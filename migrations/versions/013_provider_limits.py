"""How much an account at a provider may be asked: calls a second and calls in flight; NULL is no limit.

Two nullable columns and their CHECKs on a table of a few hundred rows: no rewrite, a lock of milliseconds.
"""

import sqlalchemy as sa
from alembic import op

revision = "013"
down_revision = "012"
branch_labels = None
depends_on = None

TABLE = "integration_configuration"


def upgrade() -> None:
    op.add_column(TABLE, sa.Column("max_requests_per_second", sa.Numeric))
    op.add_column(TABLE, sa.Column("max_calls_in_flight", sa.Integer))
    op.create_check_constraint("max_requests_per_second", TABLE, "max_requests_per_second BETWEEN 0.001 AND 100000")
    op.create_check_constraint("max_calls_in_flight", TABLE, "max_calls_in_flight > 0")


def downgrade() -> None:
    op.drop_column(TABLE, "max_calls_in_flight")
    op.drop_column(TABLE, "max_requests_per_second")
