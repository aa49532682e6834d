"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}

Before this is merged:
- Add first, remove in a later release: the running version must work on the new schema as well.
- A lock is waited for 4 s, a statement runs 60 s at most (`migrations/env.py`); what needs longer belongs in a job that
  works in batches. A lock that waits blocks everyone who queues behind it.
- New column on a large table: nullable, or with a constant default; NOT NULL later, by a CHECK ... NOT VALID that is
  validated in a revision of its own. Foreign keys: NOT VALID, then validate. Index every foreign key.
- Index on a large table: inside `with op.get_context().autocommit_block():`, `postgresql_concurrently=True`.
- A table with `updated_at` calls `keep_updated_at`; a new word of a vocabulary replaces its CHECK.
- Import no models: a revision describes the past. Write the downgrade, the tests walk it.
"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = "${up_revision}"
down_revision = "${down_revision}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
