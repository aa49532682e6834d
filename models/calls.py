"""Calls to providers, one row for those of a run with the same reason, and what a tenant may spend on them in a day.

Amounts are US dollars. The rows refer to jobs, requests and configurations without keys: they outlive them.
"""

import uuid
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import BigInteger, CheckConstraint, Index, Numeric, UniqueConstraint, func, text, true
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, BigId, Money, Price, choice
from models.facts import NOT_PERSONAL, kept, kept_while_used, personal
from models.vocabularies import CallReason, Environment

_SUM = Numeric(16, 4)
_ZERO = text("0")


class ProviderCall(Base):
    """Calls that left, by run and reason; tokens are no calls. Rows are only ever added.

    `is_certain` is false for those of a run whose worker died: it made no more than so many, perhaps none.
    """

    __tablename__ = "provider_call"
    __table_args__ = (
        CheckConstraint("calls > 0", name="calls"),
        Index("idx_provider_call_at", "at"),
        Index("idx_provider_call_request", "request_id"),
        {"info": kept(2555, since="at", why="invoices of providers are checked against it")},
    )

    id: Mapped[BigId]
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    job_id: Mapped[uuid.UUID]
    request_id: Mapped[int] = mapped_column(BigInteger)
    fence: Mapped[int] = mapped_column(BigInteger)
    """Which run of the job."""

    tenant: Mapped[str] = mapped_column(info=NOT_PERSONAL)
    integration_id: Mapped[int] = mapped_column(BigInteger)
    configuration_id: Mapped[int] = mapped_column(BigInteger)
    environment: Mapped[Environment] = mapped_column(choice("environment", Environment))
    reason: Mapped[CallReason] = mapped_column(choice("reason", CallReason))
    calls: Mapped[int]
    is_certain: Mapped[bool] = mapped_column(server_default=true())
    price: Mapped[Decimal | None] = mapped_column(Price)
    """Of one call, as configured then; NULL if it was not."""


class CallBudget(Base):
    """What a tenant may spend in a day of UTC: at the soft limit somebody is told, beyond the hard one jobs wait."""

    __tablename__ = "call_budget"
    __table_args__ = (
        CheckConstraint("coalesce(soft_limit, hard_limit) IS NOT NULL", name="limits"),
        CheckConstraint("soft_limit >= 0 AND soft_limit <= 9999999999", name="soft_limit"),
        CheckConstraint("hard_limit >= 0 AND hard_limit <= 9999999999", name="hard_limit"),
        CheckConstraint("soft_limit <= hard_limit", name="order"),
        CheckConstraint("tenant <> ''", name="tenant"),
        {"info": kept_while_used("somebody sets and removes it")},
    )

    tenant: Mapped[str] = mapped_column(primary_key=True, info=NOT_PERSONAL)
    soft_limit: Mapped[Decimal | None] = mapped_column(Money)
    hard_limit: Mapped[Decimal | None] = mapped_column(Money)
    set_by: Mapped[str] = mapped_column(info=personal("name"))
    """Account name of the operator."""

    set_at: Mapped[datetime] = mapped_column(server_default=func.now())


class CallBudgetDay(Base):
    """What a tenant with a budget has spent on a day, and what is set aside for runs under way."""

    __tablename__ = "call_budget_day"
    __table_args__ = (
        UniqueConstraint("tenant", "day"),
        Index("idx_call_budget_day_day", "day", "id"),
        {"info": kept(2555, since="day", why="as the calls it adds up")},
    )

    id: Mapped[BigId]
    tenant: Mapped[str] = mapped_column(info=NOT_PERSONAL)
    day: Mapped[date]
    spent: Mapped[Decimal] = mapped_column(_SUM, server_default=_ZERO)
    reserved: Mapped[Decimal] = mapped_column(_SUM, server_default=_ZERO)
    warned_at: Mapped[datetime | None]
