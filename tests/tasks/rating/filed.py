"""Filed rows for tests of the engine, as the database gives them: everything fictional, each part with a default."""

import json
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from tasks.rating.book import Book
from tasks.rating.inputs import QuoteInputs, read_inputs
from tasks.rating.premium import Rated, rate

DAY = date(2026, 6, 1)

FIELDS = {
    "quote.territory": "text",
    "quote.credit_tier": "text",
    "quote.multi_policy": "boolean",
    "quote.paperless": "boolean",
    "quote.ai_risk_score": "number",
    "quote.vehicle_count": "number",
    "quote.is_renewal": "boolean",
    "coverage.type": "text",
    "vehicle.class": "text",
    "vehicle.use": "text",
    "driver.class": "text",
    "driver.points": "number",
    "driver.credit_tier": "text",
}

STEPS = [
    {"group": "territory", "field": "quote.territory"},
    {"group": "vehicle", "field": "vehicle.class"},
    {"group": "driver", "field": "driver.class"},
    {"group": "credit", "field": "quote.credit_tier"},
]


def row(kind: str, name: str, **values: Any) -> dict[str, Any]:
    return {
        "id": str(uuid5(NAMESPACE_OID, f"{kind} {name}")),
        "effective_date": "2026-01-01",
        "expiration_date": None,
        "is_active": True,
        **values,
    }


def rounding(final: int = 2, mode: str = "half_up", per: str = "coverage", step: int = 3) -> dict[str, Any]:
    return {
        "step": {"decimals": step, "mode": mode},
        "final": {"decimals": final, "mode": mode, "per": per},
    }


def plan(**values: Any) -> dict[str, Any]:
    defaults = {
        "product_type": "auto",
        "steps": STEPS,
        "rounding": rounding(),
        "fees": [],
        "assignment": {},
        "discount_cap_percent": None,
        "surcharge_cap_percent": None,
        "min_premium": None,
        "max_premium": None,
    }
    return row("plan", "", **defaults | values)


def table(coverage: str = "BI", base: str = "200.000000", **values: Any) -> dict[str, Any]:
    defaults = {
        "coverage_type": coverage,
        "base_rate": base,
        "territory_factors": {"101": "1.150"},
        "vehicle_factors": {"sedan": "1.050"},
        "driver_factors": {"adult": "1.240"},
        "credit_factors": {"good": "0.900"},
        "other_factors": {},
        "rounding": {},
        "min_premium": None,
        "max_premium": None,
    }
    return row("rate", coverage, **defaults | values)


def rule(kind: str, code: str, value: str, conditions: dict[str, Any] | None = None, **values: Any) -> dict[str, Any]:
    defaults = {
        "code": code,
        f"{kind}_type": "percentage",
        f"{kind}_value": value,
        "eligibility_rules" if kind == "discount" else "trigger_conditions": conditions or {},
        "stackable": True,
        "priority": 100,
        "max_amount": None,
        "applies_to": "coverage",
    }
    return row(kind, code, **defaults | values)


def discount(code: str, value: str, conditions: dict[str, Any] | None = None, **values: Any) -> dict[str, Any]:
    return rule("discount", code, value, conditions, **values)


def surcharge(code: str, value: str, conditions: dict[str, Any] | None = None, **values: Any) -> dict[str, Any]:
    return rule("surcharge", code, value, conditions, **values)


def state_rule(factor: str, restriction: str = "prohibited", **values: Any) -> dict[str, Any]:
    return row(
        "state", factor, factor=factor, restriction=restriction, **{"min_factor": None, "max_factor": None} | values
    )


def book(
    *tables: dict[str, Any],
    by: dict[str, Any] | None = None,
    discounts: Any = (),
    surcharges: Any = (),
    state_rules: Any = (),
    state: str = "TX",
) -> Book:
    """Numbers may be written as text; they come out as the exact ones that JSON of the database holds."""
    rows = {
        "plans": [by or plan()],
        "rate_tables": list(tables or [table()]),
        "discount_rules": list(discounts),
        "surcharge_rules": list(surcharges),
        "state_rules": list(state_rules),
        "fields": FIELDS,
    }
    return Book(state, "auto", rows)


def quote(**values: Any) -> QuoteInputs:
    """A quote for one sedan and its adult driver; `vehicles`, `drivers` and `coverages` replace theirs, the rest are
    fields of the quote."""
    document = {
        "coverages": values.pop("coverages", {"BI": {}}),
        "vehicles": values.pop("vehicles", [{"class": "sedan"}]),
        "drivers": values.pop("drivers", [{"class": "adult"}]),
        "property": {},
        "quote": {"state": "TX", "is_renewal": False, "territory": "101", "credit_tier": "good", **values},
    }
    return read_inputs(json.dumps(document, default=str))


def rated(inputs: QuoteInputs, filed: Book) -> Rated:
    return rate(inputs, filed.plan_on(DAY))


def steps_of(result: Rated, coverage: str = "BI", unit: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = result.trace["units"][unit]["coverages"][coverage]["steps"]
    return found


def running(result: Rated, step: str) -> Decimal:
    """The premium of BI after the step."""
    (line,) = (line for line in steps_of(result) if line["step"] == step)
    return Decimal(line["running"])
