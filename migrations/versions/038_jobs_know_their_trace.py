"""A job knows the trace of whoever asked for it (W3C Trace Context: ids only).

A transaction says it with `set_config('worker.traceparent', ..., true)`, and every job it asks for gets it, whatever
function does the asking. What is no trace context is none. One nullable column, no rewrite.
"""

from alembic import op

revision = "038"
down_revision = "037"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE job ADD COLUMN trace_context text DEFAULT substring(
            current_setting('worker.traceparent', true) FROM '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$'
        )
        """
    )


def downgrade() -> None:
    op.execute("ALTER TABLE job DROP COLUMN trace_context")
