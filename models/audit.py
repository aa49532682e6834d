"""The audit trail: who did what to which row, in monthly partitions. The application may add to it, never change it."""

import uuid
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Index, String, func, text
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, IpAddress, RiskScore
from models.facts import NOT_PERSONAL, kept, kept_while_used, partitioned, personal


class AuditLog(Base):
    """One thing that was done. `details` holds ids, codes and counts only.

    `user_id` has no foreign key: with one, attaching a partition would lock `users` against every reader, and the trail
    must outlive the user. `resource_id` is text because some tables have numbers and some UUIDs.
    """

    __tablename__ = "audit_logs"
    __table_args__ = (
        CheckConstraint("risk_score BETWEEN 0 AND 1", name="risk_score"),
        Index("idx_audit_logs_user", "user_id", "created_at"),
        Index("idx_audit_logs_resource", "resource_type", "resource_id"),
        Index("idx_audit_logs_action", "action", "created_at"),
        Index(
            "idx_audit_logs_unmasked",
            "created_at",
            "id",
            postgresql_where=text("masklen(ip_address) IN (32, 128) OR user_agent IS NOT NULL"),
        ),
        {
            "postgresql_partition_by": "RANGE (created_at)",
            "info": partitioned(by="created_at", every="month")
            | kept(2555, since="created_at", mask_after_days=90, why="evidence for audits; whole months go at once"),
        },
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    created_at: Mapped[datetime] = mapped_column(primary_key=True, server_default=func.now())
    user_id: Mapped[uuid.UUID | None]
    action: Mapped[str] = mapped_column(String(100), info=NOT_PERSONAL)
    resource_type: Mapped[str] = mapped_column(String(100), info=NOT_PERSONAL)
    resource_id: Mapped[str | None] = mapped_column(String(100), info=NOT_PERSONAL)
    risk_score: Mapped[Decimal | None] = mapped_column(RiskScore)
    security_alerts: Mapped[list[Any]] = mapped_column(server_default=text("'[]'::jsonb"), info=NOT_PERSONAL)
    details: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"), info=NOT_PERSONAL)
    correlation_id: Mapped[str | None] = mapped_column(String(100), index=True, info=NOT_PERSONAL)
    ip_address: Mapped[IpAddress | None] = mapped_column(INET, info=personal("network"))
    user_agent: Mapped[str | None] = mapped_column(info=personal("network"))


class AuditMonth(Base):
    """A month that was detached from the trail because its time is over; dropped when two nights have passed."""

    __tablename__ = "audit_months"
    __table_args__ = (
        CheckConstraint("extract(day FROM month) = 1", name="month"),
        CheckConstraint("nights_since >= 0 AND row_count >= 0", name="counts"),
        {"info": kept_while_used("it is the certificate that a month was removed")},
    )

    month: Mapped[date] = mapped_column(primary_key=True)
    policy_version: Mapped[int]
    row_count: Mapped[int] = mapped_column(BigInteger)
    detached_at: Mapped[datetime] = mapped_column(server_default=func.now())
    nights_since: Mapped[int] = mapped_column(server_default=text("0"))
    counted_on: Mapped[date]
    """The last day that was counted as a night, in UTC."""

    dropped_at: Mapped[datetime | None]
