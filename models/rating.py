"""What the rating engine multiplies and adds: rates with their factors, discounts, surcharges, and what states forbid.

All of it is data with dates: a premium is computed from the rows in force on the quote's effective date. Intervals are
half-open, an empty `expiration_date` means "until further notice".
"""

from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, Numeric, String, UniqueConstraint, func, text, true
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Money, StateCode, Timestamped, UuidId, choice
from models.facts import NOT_PERSONAL, kept_while_used
from models.vocabularies import ProductType, RatingRestriction, RuleAmountType

FILED = kept_while_used("filed rates are kept as long as a quote may have to be explained by them")
EMPTY = text("'{}'::jsonb")


class RateTable(Timestamped, Base):
    """The base rate and factors of one coverage of one product in one state, from one day on.

    `base_rate` is in US dollars: filed rates reach 987.32, more than the usual (8,6) digits hold. `rounding` says how
    the plan rounds; `min_premium` and `max_premium` clamp the coverage's premium.
    """

    __tablename__ = "rate_tables"
    __table_args__ = (
        CheckConstraint("base_rate >= 0", name="base_rate"),
        CheckConstraint("expiration_date > effective_date", name="dates"),
        CheckConstraint("min_premium <= max_premium", name="premiums"),
        CheckConstraint("state ~ '^[A-Z]{2}$'", name="state"),
        UniqueConstraint("state", "product_type", "coverage_type", "effective_date", name="uq_rate_tables_version"),
        # GiST compares ranges without an extension, but not text: so the key is a range of text with one member.
        ExcludeConstraint(
            (
                text(
                    "text_range(state || '|' || product_type || '|' || coverage_type,"
                    " state || '|' || product_type || '|' || coverage_type, '[]')"
                ),
                "&&",
            ),
            (text("daterange(effective_date, expiration_date)"), "&&"),
            name="ex_rate_tables_no_overlap",
            using="gist",
        ),
        {"info": FILED},
    )

    id: Mapped[UuidId]
    state: Mapped[StateCode] = mapped_column(info=NOT_PERSONAL)
    product_type: Mapped[ProductType] = mapped_column(choice("product_type", ProductType))
    coverage_type: Mapped[str] = mapped_column(String(50), info=NOT_PERSONAL)
    base_rate: Mapped[Decimal] = mapped_column(Numeric(12, 6))
    territory_factors: Mapped[dict[str, Any]] = mapped_column(server_default=EMPTY, info=NOT_PERSONAL)
    vehicle_factors: Mapped[dict[str, Any]] = mapped_column(server_default=EMPTY, info=NOT_PERSONAL)
    driver_factors: Mapped[dict[str, Any]] = mapped_column(server_default=EMPTY, info=NOT_PERSONAL)
    credit_factors: Mapped[dict[str, Any]] = mapped_column(server_default=EMPTY, info=NOT_PERSONAL)
    rounding: Mapped[dict[str, Any]] = mapped_column(server_default=EMPTY, info=NOT_PERSONAL)
    min_premium: Mapped[Decimal | None] = mapped_column(Money)
    max_premium: Mapped[Decimal | None] = mapped_column(Money)
    effective_date: Mapped[date]
    expiration_date: Mapped[date | None]


class RatingRule:
    """What discounts and surcharges share. `priority` orders them, lowest first, then `code`.

    Rules that are not stackable compete: the best one applies alone. `max_amount` caps the rule in US dollars.
    """

    code: Mapped[str] = mapped_column(String(50), unique=True, info=NOT_PERSONAL)
    rule_name: Mapped[str] = mapped_column(String(100), unique=True, info=NOT_PERSONAL)
    stackable: Mapped[bool] = mapped_column(server_default=true())
    priority: Mapped[int] = mapped_column(server_default=text("100"))
    max_amount: Mapped[Decimal | None] = mapped_column(Money)
    effective_date: Mapped[date] = mapped_column(server_default=func.current_date())
    expiration_date: Mapped[date | None]


class DiscountRule(RatingRule, Timestamped, Base):
    """A discount on the factored premium: percentage points (0 to 100) or US dollars."""

    __tablename__ = "discount_rules"
    __table_args__ = (
        CheckConstraint("discount_value > 0", name="discount_value"),
        CheckConstraint("discount_type <> 'percentage' OR discount_value <= 100", name="discount_percentage"),
        CheckConstraint("expiration_date > effective_date", name="dates"),
        CheckConstraint("max_amount > 0", name="max_amount"),
        {"info": FILED},
    )

    id: Mapped[UuidId]
    discount_type: Mapped[RuleAmountType] = mapped_column(choice("discount_type", RuleAmountType))
    discount_value: Mapped[Decimal] = mapped_column(Numeric(12, 4))
    eligibility_rules: Mapped[dict[str, Any]] = mapped_column(server_default=EMPTY, info=NOT_PERSONAL)


class SurchargeRule(RatingRule, Timestamped, Base):
    """A surcharge on the factored premium: percentage points or US dollars."""

    __tablename__ = "surcharge_rules"
    __table_args__ = (
        CheckConstraint("surcharge_value > 0", name="surcharge_value"),
        CheckConstraint("expiration_date > effective_date", name="dates"),
        CheckConstraint("max_amount > 0", name="max_amount"),
        {"info": FILED},
    )

    id: Mapped[UuidId]
    surcharge_type: Mapped[RuleAmountType] = mapped_column(choice("surcharge_type", RuleAmountType))
    surcharge_value: Mapped[Decimal] = mapped_column(Numeric(12, 4))
    trigger_conditions: Mapped[dict[str, Any]] = mapped_column(server_default=EMPTY, info=NOT_PERSONAL)


class StateRatingRule(Timestamped, Base):
    """What a state makes of one rating factor: forbidden, for new business only, never a rise at renewal, or capped."""

    __tablename__ = "state_rating_rules"
    __table_args__ = (
        CheckConstraint("expiration_date > effective_date", name="dates"),
        CheckConstraint("min_factor <= max_factor", name="factors"),
        CheckConstraint("restriction <> 'capped' OR min_factor IS NOT NULL OR max_factor IS NOT NULL", name="capped"),
        CheckConstraint("state ~ '^[A-Z]{2}$'", name="state"),
        UniqueConstraint("state", "product_type", "factor", "effective_date", name="uq_state_rating_rules_version"),
        {"info": FILED},
    )

    id: Mapped[UuidId]
    state: Mapped[StateCode] = mapped_column(info=NOT_PERSONAL)
    product_type: Mapped[ProductType] = mapped_column(choice("product_type", ProductType))
    factor: Mapped[str] = mapped_column(String(50), info=NOT_PERSONAL)
    restriction: Mapped[RatingRestriction] = mapped_column(choice("restriction", RatingRestriction))
    min_factor: Mapped[Decimal | None] = mapped_column(Numeric(9, 4))
    max_factor: Mapped[Decimal | None] = mapped_column(Numeric(9, 4))
    legal_basis: Mapped[str] = mapped_column(info=NOT_PERSONAL)
    effective_date: Mapped[date]
    expiration_date: Mapped[date | None]
