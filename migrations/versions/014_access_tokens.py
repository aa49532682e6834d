"""What the HTTP API needs: whose jobs a client may ask for, its access tokens, and how often it asked.

Two new tables, a column with a constant default on a table of a few rows, and an index on the ledger, whose building
holds up new jobs: run it while the queue is short.
"""

import sqlalchemy as sa
from alembic import op

from migrations.columns import Hash, Instant, drop_tables, json_list, made_at, reference, required

revision = "014"
down_revision = "013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("oauth2_clients", json_list("tenants"))
    op.create_check_constraint("tenants", "oauth2_clients", "jsonb_typeof(tenants) = 'array'")
    op.create_table(
        "oauth2_access_tokens",
        sa.Column("token_hash", Hash, primary_key=True),
        reference("oauth2_clients", "client_id", sa.Uuid),
        json_list("scopes"),
        made_at(),
        required("expires_at", Instant, index=True),
        sa.Column("used_at", Instant),
        sa.Column("revoked_at", Instant),
        sa.CheckConstraint("jsonb_typeof(scopes) = 'array'", name="scopes"),
    )
    op.create_table(
        "oauth2_request_counts",
        sa.Column("client_id", sa.Uuid, sa.ForeignKey("oauth2_clients.id"), primary_key=True),
        sa.Column("span_s", sa.Integer, primary_key=True, autoincrement=False),
        required("began_at", Instant),
        required("requests", sa.Integer),
    )
    # A client's jobs, newest first.
    op.create_index("idx_job_tenant_created", "job", ["tenant", "created_at", "id"])


def downgrade() -> None:
    op.drop_index("idx_job_tenant_created", "job")
    drop_tables("oauth2_request_counts", "oauth2_access_tokens")
    op.drop_column("oauth2_clients", "tenants")
