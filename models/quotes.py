"""Quotes: what a customer asked to insure, in versions, until a policy comes of it or it expires."""

import uuid
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, false, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import VACUUMED_SOON, Base, Hash, Money, RiskScore, StateCode, Timestamped, UuidId, choice
from models.facts import NOT_PERSONAL, kept, personal
from models.vocabularies import ProductType, QuoteStatus


class Quote(Timestamped, Base):
    """A version of a quote. `calculating` is taken by a conditional update: it is the lock of the recalculation.

    The last block of columns is what the recalculation left: the premium in US dollars, how it came about, and by what
    inputs and rows of the plan, so that it is done again only when one of them has changed. `rating_problem` says why
    there is no up-to-date premium.
    """

    __tablename__ = "quotes"
    __table_args__ = (
        CheckConstraint("ai_risk_score BETWEEN 0 AND 1", name="ai_risk_score"),
        CheckConstraint("conversion_probability BETWEEN 0 AND 1", name="conversion_probability"),
        CheckConstraint("state ~ '^[A-Z]{2}$'", name="state"),
        CheckConstraint("version >= 1", name="version"),
        Index("idx_quotes_quote_number", "quote_number", unique=True),
        Index("idx_quotes_product_type_state", "product_type", "state"),
        Index("idx_quotes_vehicle_info", "vehicle_info", postgresql_using="gin"),
        Index("idx_quotes_coverage_selections", "coverage_selections", postgresql_using="gin"),
        Index("idx_quotes_unmasked", "created_at", "id", postgresql_where=text("pii_rule_version IS NULL")),
        {
            "info": kept(
                2555,
                since="created_at",
                mask_after_days=1095,
                why="market conduct reviews look at declined and unsold quotes; names are not needed for long",
            ),
            "postgresql_with": VACUUMED_SOON,
        },
    )

    id: Mapped[UuidId]
    quote_number: Mapped[str] = mapped_column(
        String(30), server_default=text("generate_quote_number()"), info=NOT_PERSONAL
    )
    customer_id: Mapped[str | None] = mapped_column(
        String(36), ForeignKey("customers.id"), index=True, info=NOT_PERSONAL
    )
    product_type: Mapped[ProductType] = mapped_column(choice("product_type", ProductType))
    state: Mapped[StateCode] = mapped_column(info=NOT_PERSONAL)
    status: Mapped[QuoteStatus] = mapped_column(choice("status", QuoteStatus), server_default="draft", index=True)
    version: Mapped[int] = mapped_column(server_default=text("1"))
    parent_quote_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("quotes.id"), index=True)
    converted_to_policy_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("policies.id"), index=True)
    vehicle_info: Mapped[dict[str, Any] | None] = mapped_column(info=personal("document"))
    property_info: Mapped[dict[str, Any] | None] = mapped_column(info=personal("document"))
    drivers: Mapped[list[Any] | None] = mapped_column(info=personal("document"))
    coverage_selections: Mapped[dict[str, Any] | None] = mapped_column(info=NOT_PERSONAL)
    ai_risk_score: Mapped[Decimal | None] = mapped_column(RiskScore)
    conversion_probability: Mapped[Decimal | None] = mapped_column(RiskScore)
    rating_inputs: Mapped[dict[str, Any] | None] = mapped_column(info=personal("document"))
    """What the price depends on and belongs to the whole quote: the fields `quote.*` of `rating_fields`."""

    is_renewal: Mapped[bool] = mapped_column(server_default=false())
    effective_date: Mapped[date | None]
    expires_at: Mapped[datetime | None] = mapped_column(index=True)
    created_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id"), index=True)
    updated_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id"), index=True)

    premium: Mapped[Decimal | None] = mapped_column(Money)
    coverage_premiums: Mapped[dict[str, Any] | None] = mapped_column(info=NOT_PERSONAL)
    plan_version: Mapped[Hash | None] = mapped_column(info=NOT_PERSONAL)
    input_hash: Mapped[Hash | None] = mapped_column(info=NOT_PERSONAL)
    # Filed keys and amounts, vehicles and drivers by number: kept as long as the price may have to be explained.
    rating_trace: Mapped[dict[str, Any] | None] = mapped_column(info=NOT_PERSONAL)
    rated_at: Mapped[datetime | None]
    rating_problem: Mapped[str | None] = mapped_column(info=personal("free_text"))

    pii_rule_version: Mapped[int | None]
    """Of the rules that its documents were masked by. A write to one of them takes it away again."""
