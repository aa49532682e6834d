"""Old questions, batches, calls and days of budgets leave as the models say: each gets its policy, and an index that
finds its oldest rows.

Retention records a removal by a key of one column, so a day of a budget gets one: the small table is written anew. The
indexes hold a table's writers up while they are built, for about a second a million rows.
"""

from importlib import import_module

import sqlalchemy as sa
from alembic import op

revision = "040"
down_revision = "039"
branch_labels = None
depends_on = None

DAY = "call_budget_day"
OLDEST = {
    "asked_question": ("asked_at", None),
    "job_batch": ("finished_at", sa.text("finished_at IS NOT NULL")),
    DAY: ("day", None),
}
"""What has no index by its date yet; an open batch has no date."""


def upgrade() -> None:
    op.drop_constraint(op.f(f"pk_{DAY}"), DAY)
    op.add_column(DAY, sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False))
    op.create_primary_key(op.f(f"pk_{DAY}"), DAY, ["id"])
    op.create_unique_constraint(op.f(f"uq_{DAY}_tenant"), DAY, ["tenant", "day"])
    for table, (date, where) in OLDEST.items():
        op.create_index(f"idx_{table}_{date}", table, [date, "id"], postgresql_where=where)
    with before.unaudited("data_retention_policies"):
        op.execute(POLICIES)


def downgrade() -> None:
    with before.unaudited("data_retention_policies"):
        op.execute(
            "DELETE FROM data_retention_policies"
            " WHERE table_name IN ('asked_question', 'job_batch', 'provider_call', 'call_budget_day')"
        )
    for table, (date, _) in OLDEST.items():
        op.drop_index(f"idx_{table}_{date}", table)
    op.drop_constraint(op.f(f"uq_{DAY}_tenant"), DAY)
    op.drop_column(DAY, "id")
    op.create_primary_key(op.f(f"pk_{DAY}"), DAY, ["tenant", "day"])


before = import_module("migrations.versions.033_mask_personal_data")

POLICIES = """
    INSERT INTO data_retention_policies (table_name, retention_days, date_column, legal_basis, max_share)
    VALUES
      ('asked_question', 90, 'asked_at', 'Longer than answers are used again; without it a call is made anew.', 0.5),
      ('job_batch', 90, 'finished_at', 'As long as its jobs.', 0.5),
      ('provider_call', 2555, 'at', 'Invoices of providers are checked against it.', 0.1),
      ('call_budget_day', 2555, 'day', 'As the calls it adds up.', 0.1)
    ON CONFLICT (table_name) DO NOTHING
"""
