"""The audit trail: who did what to which row, written in the transaction of the deed itself.

So a deed without its row, or a row without its deed, can't be. The application may only add rows and read them. They
hold ids, codes and counts: `details` goes nowhere near a person's data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing that was done. `action` is `<subject>.<deed>`; `risk_score` runs from 0 to 1, in hundredths.

    `alerts` are codes that a person should look at, such as refresh_token_reuse.
    """

    action: str
    resource_type: str
    resource_id: str | int | UUID | None = None
    user_id: UUID | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    risk_score: Decimal | None = None
    alerts: Sequence[str] = ()
    correlation_id: str | None = None


def audit(
    connection: Connection,
    *,
    action: str,
    resource_type: str,
    resource_id: str | int | UUID | None = None,
    user_id: UUID | None = None,
    details: Mapping[str, Any] | None = None,
    risk_score: Decimal | None = None,
    alerts: Sequence[str] = (),
    correlation_id: str | None = None,
) -> None:
    """Write one row of the trail in the caller's transaction; see `Deed` for what the words mean."""
    audit_all(
        connection,
        [Deed(action, resource_type, resource_id, user_id, details or {}, risk_score, alerts, correlation_id)],
    )


def audit_all(connection: Connection, deeds: Sequence[Deed]) -> None:
    """Write a row for each deed, in one statement. `details` may hold ids, times, numbers, words and lists of them."""
    if deeds:
        connection.execute(_ADD, {"deeds": orjson.dumps(list(deeds), default=_plain).decode()})


def _plain(value: object) -> str:
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in the audit trail")


ADD_DEEDS = """
    INSERT INTO audit_logs (
        action, resource_type, resource_id, user_id, details, risk_score, security_alerts, correlation_id
    )
    SELECT action, resource_type, resource_id, user_id, details, risk_score, alerts, correlation_id
    FROM jsonb_to_recordset(CAST(:deeds AS jsonb)) AS deed (
        action text, resource_type text, resource_id text, user_id uuid, details jsonb, risk_score numeric,
        alerts jsonb, correlation_id text
    )
"""
"""Adds the deeds of the document `:deeds`, for a statement that does more."""

_ADD = text(ADD_DEEDS)
