"""Privacy and retention as data: how long tables are kept, what must not go, what went, and how values are masked."""

import uuid
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, Numeric, String, UniqueConstraint, false, func, text, true
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, BigId, Hash, Timestamped, UuidId, choice
from models.facts import NOT_PERSONAL, kept_while_used, kept_with, personal
from models.vocabularies import (
    DataClass,
    HoldScope,
    MaskingMatch,
    MaskingOperator,
    RetentionAction,
    RetentionRunState,
)


class DataRetentionPolicy(Timestamped, Base):
    """How long one table's rows live: masked `mask_after_days`, removed `retention_days` after `date_column`.

    A trigger refuses what makes no sense, by name, and raises `version` with every change of a rule.
    """

    __tablename__ = "data_retention_policies"
    __table_args__ = (
        CheckConstraint("retention_days > 0", name="retention_days"),
        CheckConstraint("mask_after_days >= 0 AND mask_after_days < retention_days", name="mask_after_days"),
        CheckConstraint("batch_size BETWEEN 1 AND 50000", name="batch_size"),
        CheckConstraint("version >= 1", name="version"),
        CheckConstraint("max_share > 0 AND max_share <= 1", name="max_share"),
        {"info": kept_while_used("removal records name its version")},
    )

    id: Mapped[BigId]
    table_name: Mapped[str] = mapped_column(String(63), unique=True, info=NOT_PERSONAL)
    version: Mapped[int] = mapped_column(server_default=text("1"))
    retention_days: Mapped[int]
    mask_after_days: Mapped[int | None]
    date_column: Mapped[str] = mapped_column(String(63), info=NOT_PERSONAL)
    action: Mapped[RetentionAction] = mapped_column(choice("action", RetentionAction), server_default="delete")
    batch_size: Mapped[int] = mapped_column(server_default=text("5000"))
    enabled: Mapped[bool] = mapped_column(server_default=true())
    legal_basis: Mapped[str] = mapped_column(info=NOT_PERSONAL)
    max_share: Mapped[Decimal] = mapped_column(Numeric(4, 3), server_default=text("0.100"))
    """Of the table's rows, what one run may remove without a person's consent."""


class LegalHold(Base):
    """Nothing in the scope may be removed or masked until somebody releases the hold.

    The view `held_rows` says which rows that is. Placing a hold waits for the batches that are at work
    (`lock_legal_holds`); one on nothing is refused, and none is ever deleted.
    """

    __tablename__ = "legal_holds"
    __table_args__ = (
        CheckConstraint("(released_by IS NULL) = (released_at IS NULL)", name="release"),
        CheckConstraint("scope_type <> 'audit_month' OR scope_id ~ '^[0-9]{4}_[0-9]{2}$'", name="audit_month"),
        Index("idx_legal_holds_open", "scope_type", "scope_id", postgresql_where=text("released_at IS NULL")),
        {"info": kept_while_used("it proves why something was kept")},
    )

    id: Mapped[BigId]
    scope_type: Mapped[HoldScope] = mapped_column(choice("scope_type", HoldScope))
    scope_id: Mapped[str] = mapped_column(String(36), info=NOT_PERSONAL)
    reason: Mapped[str] = mapped_column(info=personal("free_text"))
    placed_by: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), index=True)
    placed_at: Mapped[datetime] = mapped_column(server_default=func.now())
    released_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id"), index=True)
    released_at: Mapped[datetime | None]


class RetentionRun(Base):
    """One run of the retention job, dry or real. `job_id` is the job in the ledger."""

    __tablename__ = "retention_runs"
    __table_args__ = ({"info": kept_while_used("it is the certificate that data was removed")},)

    id: Mapped[UuidId]
    job_id: Mapped[uuid.UUID | None] = mapped_column(index=True)
    actor_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), index=True)
    is_dry_run: Mapped[bool] = mapped_column(server_default=false())
    state: Mapped[RetentionRunState] = mapped_column(choice("state", RetentionRunState), server_default="running")
    started_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
    finished_at: Mapped[datetime | None]


class RetentionRunItem(Base):
    """One batch that a run removed, written in the batch's own transaction. Counts and ids only.

    `ids_sha256` is over the removed ids in ascending order, each followed by a line feed. `duration_ms` is the batch's.
    """

    __tablename__ = "retention_run_items"
    __table_args__ = (
        UniqueConstraint("run_id", "table_name", "batch_number", name="uq_retention_run_items_batch"),
        CheckConstraint("deleted_count >= 0 AND held_count >= 0 AND skipped_count >= 0", name="counts"),
        {"info": kept_with("retention_runs")},
    )

    id: Mapped[BigId]
    run_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("retention_runs.id"), index=True)
    table_name: Mapped[str] = mapped_column(String(63), info=NOT_PERSONAL)
    policy_version: Mapped[int]
    batch_number: Mapped[int]
    cutoff: Mapped[datetime]
    deleted_count: Mapped[int] = mapped_column(server_default=text("0"))
    held_count: Mapped[int] = mapped_column(server_default=text("0"))
    skipped_count: Mapped[int] = mapped_column(server_default=text("0"))
    first_id: Mapped[str | None] = mapped_column(String(36), info=NOT_PERSONAL)
    last_id: Mapped[str | None] = mapped_column(String(36), info=NOT_PERSONAL)
    ids_sha256: Mapped[Hash | None] = mapped_column(info=NOT_PERSONAL)
    duration_ms: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class PiiMaskingRule(Timestamped, Base):
    """One rule of a version of the masking rules: what it matches, and what is done to the value.

    The most specific match wins (`models.vocabularies.MaskingMatch`), then the lowest `priority`. The highest version
    is in force, as a whole. A trigger refuses what makes no sense, and every change to a version that has been used.
    """

    __tablename__ = "pii_masking_rules"
    __table_args__ = (
        UniqueConstraint("version", "match_type", "pattern", name="uq_pii_masking_rules_pattern"),
        CheckConstraint("version >= 1", name="version"),
        {"info": kept_while_used("masked rows name its version")},
    )

    id: Mapped[BigId]
    version: Mapped[int]
    priority: Mapped[int] = mapped_column(server_default=text("100"))
    match_type: Mapped[MaskingMatch] = mapped_column(choice("match_type", MaskingMatch))
    pattern: Mapped[str] = mapped_column(String(255), info=NOT_PERSONAL)
    validator: Mapped[str | None] = mapped_column(String(50), info=NOT_PERSONAL)
    operator: Mapped[MaskingOperator] = mapped_column(choice("operator", MaskingOperator))
    params: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"), info=NOT_PERSONAL)
    data_class: Mapped[DataClass] = mapped_column(choice("data_class", DataClass))
    used_at: Mapped[datetime | None]
    """When the first sweep used it; from then on its version is closed."""
