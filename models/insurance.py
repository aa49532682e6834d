"""Customers, their policies and the claims against them. Details live in JSON documents that are searched by GIN."""

import uuid
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, func, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Money, Timestamped, UuidId, choice
from models.facts import NOT_PERSONAL, kept, kept_while_used, personal
from models.vocabularies import ClaimStatus, PolicyStatus


class Customer(Timestamped, Base):
    """A customer. The identifier is text because other systems hand theirs over; ours are UUIDs."""

    __tablename__ = "customers"
    __table_args__ = (
        Index("idx_customers_external_id", "external_id", unique=True),
        Index("idx_customers_data", "data", postgresql_using="gin"),
        {"info": kept_while_used("policies and quotes refer to it")},
    )

    id: Mapped[str] = mapped_column(
        String(36), primary_key=True, server_default=text("(gen_random_uuid())::text"), info=NOT_PERSONAL
    )
    external_id: Mapped[str | None] = mapped_column(String(100), info=NOT_PERSONAL)
    data: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"), info=personal("document"))


class Policy(Timestamped, Base):
    """An insurance policy; in force from `effective_date` until the day before `expiration_date`."""

    __tablename__ = "policies"
    __table_args__ = (
        CheckConstraint("expiration_date > effective_date", name="dates"),
        Index("idx_policies_policy_number", "policy_number", unique=True),
        Index("idx_policies_date_range", "effective_date", "expiration_date"),
        Index("idx_policies_data", "data", postgresql_using="gin"),
        {
            "info": kept(
                2555,
                since="expiration_date",
                why="states ask for policy records five to six years after the policy ends; a year is added",
            )
        },
    )

    id: Mapped[UuidId]
    policy_number: Mapped[str] = mapped_column(String(50), info=NOT_PERSONAL)
    customer_id: Mapped[str] = mapped_column(String(36), ForeignKey("customers.id"), index=True, info=NOT_PERSONAL)
    status: Mapped[PolicyStatus] = mapped_column(choice("status", PolicyStatus), server_default="pending", index=True)
    effective_date: Mapped[date]
    expiration_date: Mapped[date]
    data: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"), info=personal("document"))


class Claim(Timestamped, Base):
    """A claim against a policy; amounts in US dollars."""

    __tablename__ = "claims"
    __table_args__ = (
        CheckConstraint("amount_claimed >= 0", name="amount_claimed"),
        CheckConstraint("amount_approved >= 0", name="amount_approved"),
        Index("idx_claims_claim_number", "claim_number", unique=True),
        Index("idx_claims_data", "data", postgresql_using="gin"),
        {"info": kept(2555, since="closed_at", why="the clock of claim records starts when the claim is closed")},
    )

    id: Mapped[UuidId]
    claim_number: Mapped[str] = mapped_column(String(50), info=NOT_PERSONAL)
    policy_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("policies.id"), index=True)
    status: Mapped[ClaimStatus] = mapped_column(choice("status", ClaimStatus), server_default="submitted", index=True)
    amount_claimed: Mapped[Decimal] = mapped_column(Money)
    amount_approved: Mapped[Decimal | None] = mapped_column(Money)
    submitted_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
    closed_at: Mapped[datetime | None]
    data: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"), info=personal("document"))
