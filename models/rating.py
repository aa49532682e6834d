"""What the rating engine multiplies and adds: plans, rates with their factors, discounts, surcharges, and what states
forbid.

All of it is data with dates: a premium is computed from the active rows in force on the quote's effective date.
Intervals are half-open, an empty `expiration_date` means "until further notice". A row that is not active is a draft:
it can be tried out, and `activate_rating` puts it in force. Triggers refuse what can't be rated by, naming the field,
and ask for a recalculation when something active changes; so it makes no difference who writes.
"""

from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, Numeric, String, UniqueConstraint, false, func, text, true
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Money, StateCode, Timestamped, UuidId, choice
from models.facts import NOT_PERSONAL, kept_while_used
from models.vocabularies import ProductType, RatingFieldType, RatingRestriction, RuleAmountType, RuleScope

FILED = kept_while_used("filed rates are kept as long as a quote may have to be explained by them")
EMPTY = text("'{}'::jsonb")
EMPTY_LIST = text("'[]'::jsonb")


def no_overlap(table: str, key: str) -> ExcludeConstraint:
    """Neither two active rows of one key and day, nor two drafts.

    GiST compares ranges without an extension, but not text: so the key is a range of text with one member.
    """
    return ExcludeConstraint(
        (text(f"text_range({key}, {key}, '[]')"), "&&"),
        (text("int4range(is_active::integer, is_active::integer, '[]')"), "&&"),
        (text("daterange(effective_date, expiration_date)"), "&&"),
        name=f"ex_{table}_no_overlap",
        using="gist",
    )


class RatingField(Timestamped, Base):
    """Something a plan or rule may read of a quote: `vehicle.use`. The part before the dot says where it stands."""

    __tablename__ = "rating_fields"
    __table_args__ = (
        CheckConstraint("name ~ '^(quote|coverage|vehicle|driver|property)\\.[a-z][a-z0-9_]*$'", name="name"),
        {"info": kept_while_used("plans and rules refer to it")},
    )

    name: Mapped[str] = mapped_column(String(80), primary_key=True, info=NOT_PERSONAL)
    value_type: Mapped[RatingFieldType] = mapped_column(choice("value_type", RatingFieldType))
    description: Mapped[str] = mapped_column(info=NOT_PERSONAL)


class RatingPlan(Timestamped, Base):
    """How premiums of one product are computed in one state, from one day on.

    `steps` are the factors in their order, `{"group": "vehicle", "factor": "use", "field": "vehicle.use"}`, each with
    `coverages` it is limited to, `match` (exact, or from: the keys are lower bounds) and a `default` if wanted.
    `rounding` holds `step` (`decimals`, `mode`) and `final` (the same, and `per`: coverage or policy); `fees` are
    `{"code", "amount", "per": "policy" or "vehicle"}`. `assignment` says which driver rates which vehicle: `rule` is
    highest_to_highest or as_given, `unassigned` stands for the driver of a vehicle that has none. Caps are percent of
    the factored premium; minimum and maximum are those of the whole policy before fees.
    """

    __tablename__ = "rating_plans"
    __table_args__ = (
        CheckConstraint("discount_cap_percent BETWEEN 0 AND 100", name="discount_cap_percent"),
        CheckConstraint("surcharge_cap_percent BETWEEN 0 AND 9999", name="surcharge_cap_percent"),
        CheckConstraint("min_premium >= 0", name="min_premium"),
        CheckConstraint("min_premium <= max_premium", name="premiums"),
        CheckConstraint("expiration_date > effective_date", name="dates"),
        CheckConstraint("state ~ '^[A-Z]{2}$'", name="state"),
        no_overlap("rating_plans", "state || '|' || product_type"),
        {"info": FILED},
    )

    id: Mapped[UuidId]
    state: Mapped[StateCode] = mapped_column(info=NOT_PERSONAL)
    product_type: Mapped[ProductType] = mapped_column(choice("product_type", ProductType))
    name: Mapped[str] = mapped_column(String(100), info=NOT_PERSONAL)
    steps: Mapped[list[Any]] = mapped_column(server_default=EMPTY_LIST, info=NOT_PERSONAL)
    rounding: Mapped[dict[str, Any]] = mapped_column(info=NOT_PERSONAL)
    fees: Mapped[list[Any]] = mapped_column(server_default=EMPTY_LIST, info=NOT_PERSONAL)
    assignment: Mapped[dict[str, Any]] = mapped_column(server_default=EMPTY, info=NOT_PERSONAL)
    discount_cap_percent: Mapped[Decimal | None] = mapped_column(Numeric(5, 2))
    surcharge_cap_percent: Mapped[Decimal | None] = mapped_column(Numeric(6, 2))
    min_premium: Mapped[Decimal | None] = mapped_column(Money)
    max_premium: Mapped[Decimal | None] = mapped_column(Money)
    is_active: Mapped[bool] = mapped_column(server_default=false())
    effective_date: Mapped[date]
    expiration_date: Mapped[date | None]


class RateTable(Timestamped, Base):
    """The base rate and factors of one coverage of one product in one state, from one day on.

    `base_rate` is in US dollars: filed rates reach 987.32, more than the usual (8,6) digits hold. Factors stand by key,
    `{"101": 1.15}`, or by factor and key where the group has several, `{"use": {"pleasure": 0.95}}`; those of groups
    without a column of their own stand in `other_factors` by group. `rounding`, where it is not empty, takes the place
    of the plan's; `min_premium` and `max_premium` clamp the coverage's premium.
    """

    __tablename__ = "rate_tables"
    __table_args__ = (
        CheckConstraint("base_rate >= 0", name="base_rate"),
        CheckConstraint("expiration_date > effective_date", name="dates"),
        CheckConstraint("min_premium <= max_premium", name="premiums"),
        CheckConstraint("state ~ '^[A-Z]{2}$'", name="state"),
        UniqueConstraint("state", "product_type", "coverage_type", "effective_date", name="uq_rate_tables_version"),
        CheckConstraint("min_premium >= 0", name="min_premium"),
        no_overlap("rate_tables", "state || '|' || product_type || '|' || coverage_type"),
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
    other_factors: Mapped[dict[str, Any]] = mapped_column(server_default=EMPTY, info=NOT_PERSONAL)
    rounding: Mapped[dict[str, Any]] = mapped_column(server_default=EMPTY, info=NOT_PERSONAL)
    min_premium: Mapped[Decimal | None] = mapped_column(Money)
    max_premium: Mapped[Decimal | None] = mapped_column(Money)
    is_active: Mapped[bool] = mapped_column(server_default=false())
    effective_date: Mapped[date]
    expiration_date: Mapped[date | None]


class RatingRule:
    """What discounts and surcharges share. `priority` orders them, lowest first, then `code`.

    Rules that are not stackable compete: the best one applies alone, unless the stackable ones together are worth more.
    `max_amount` caps the rule in US dollars. No `state` or `product_type` means every one. Conditions are
    `{"field", "op", "value"}`, put together with `all`, `any` and `not`; the field `rule.CODE` is whether the
    conditions of another rule hold; `{}` always holds.
    """

    code: Mapped[str] = mapped_column(String(50), unique=True, info=NOT_PERSONAL)
    rule_name: Mapped[str] = mapped_column(String(100), unique=True, info=NOT_PERSONAL)
    stackable: Mapped[bool] = mapped_column(server_default=true())
    priority: Mapped[int] = mapped_column(server_default=text("100"))
    max_amount: Mapped[Decimal | None] = mapped_column(Money)
    state: Mapped[StateCode | None] = mapped_column(info=NOT_PERSONAL)
    product_type: Mapped[ProductType | None] = mapped_column(choice("product_type", ProductType))
    applies_to: Mapped[RuleScope] = mapped_column(choice("applies_to", RuleScope), server_default="coverage")
    is_active: Mapped[bool] = mapped_column(server_default=false())
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
        CheckConstraint("state ~ '^[A-Z]{2}$'", name="state"),
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
        CheckConstraint("state ~ '^[A-Z]{2}$'", name="state"),
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
        CheckConstraint("min_factor >= 0", name="min_factor"),
        CheckConstraint("restriction <> 'capped' OR min_factor IS NOT NULL OR max_factor IS NOT NULL", name="capped"),
        CheckConstraint("state ~ '^[A-Z]{2}$'", name="state"),
        UniqueConstraint("state", "product_type", "factor", "effective_date", name="uq_state_rating_rules_version"),
        no_overlap("state_rating_rules", "state || '|' || product_type || '|' || factor"),
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
    is_active: Mapped[bool] = mapped_column(server_default=false())
    effective_date: Mapped[date]
    expiration_date: Mapped[date | None]
