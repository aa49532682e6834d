"""Everything filed for one product in one state, and which of it is in force on a day."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from models.vocabularies import RatingFieldType
from tasks.rating.plan import InForce, Plan, Row, read_plan
from tasks.rating.refusal import Refused

ENGINE = 1
"""Raised when the same rows come to mean another premium, so that every quote is rated again."""

# When rows are in force and what they are called is not what they say.
_NOT_CONTENT = {"effective_date", "expiration_date", "is_active", "rule_name", "name", "legal_basis"}


class Book:
    """Rows of the rating tables as JSON, all of one state and product; drafts among them count as if they were active.

    Plans are put together once for each set of rows, however many quotes ask.
    """

    def __init__(self, state: str, product_type: str, rows: Mapping[str, Any]) -> None:
        self._name = f"{product_type} in {state}"
        self._rows = rows
        self._types: Mapping[str, RatingFieldType] = rows["fields"]
        self._by_day: dict[str, Plan | Refused] = {}
        self._by_rows: dict[tuple[str, ...], Plan | Refused] = {}

    def plan_on(self, day: date) -> Plan:
        """Raises `Refused` with code no_plan or bad_plan."""
        name = day.isoformat()
        if name not in self._by_day:
            self._by_day[name] = self._find(name)
        plan = self._by_day[name]
        if isinstance(plan, Refused):
            raise plan
        return plan

    def _find(self, day: str) -> Plan | Refused:
        plans = _in_force(self._rows["plans"], day)
        if not plans:
            return Refused("no_plan", f"there is no plan for {self._name} on {day}")
        rows = InForce(
            _replaced(plans, "product_type")[0],
            _replaced(_in_force(self._rows["rate_tables"], day), "coverage_type"),
            _in_force(self._rows["discount_rules"], day),
            _in_force(self._rows["surcharge_rules"], day),
            _replaced(_in_force(self._rows["state_rules"], day), "factor"),
        )
        parts = (rows.rate_tables, rows.discount_rules, rows.surcharge_rules, rows.state_rules)
        ids = (rows.plan["id"], *sorted(row["id"] for part in parts for row in part))
        if ids not in self._by_rows:
            try:
                self._by_rows[ids] = read_plan(rows, version_of(rows), self._types)
            except Refused as refused:
                self._by_rows[ids] = refused
        return self._by_rows[ids]


def version_of(rows: InForce) -> str:
    """SHA-256 over the content of the rows, as hexadecimal."""
    parts = ([rows.plan], rows.rate_tables, rows.discount_rules, rows.surcharge_rules, rows.state_rules)
    content = [
        sorted(({k: v for k, v in row.items() if k not in _NOT_CONTENT} for row in part), key=lambda row: row["id"])
        for part in parts
    ]
    return hashlib.sha256(json.dumps([ENGINE, content], default=str, sort_keys=True).encode()).hexdigest()


def _in_force(rows: Iterable[Row], day: str) -> list[Row]:
    """Days are compared as they are written, which is in their order."""
    return [
        row
        for row in rows
        if row["effective_date"] <= day and (row["expiration_date"] is None or day < row["expiration_date"])
    ]


def _replaced(rows: Iterable[Row], key: str) -> list[Row]:
    """One row for each value of `key`: a draft in the place of the active one."""
    chosen: dict[str, Row] = {}
    for row in rows:
        if row[key] not in chosen or not row["is_active"]:
            chosen[row[key]] = row
    return [chosen[name] for name in sorted(chosen)]
