"""What is stored. Importing this package makes `Base.metadata` whole: every group of tables is loaded here."""

from models import (
    audit,
    calls,
    clock,
    compliance,
    household,
    insurance,
    integration,
    ledger,
    oauth2,
    quotes,
    rating,
    reference,
    security,
    users,
    verification,
)
from models.base import Base

__all__ = [
    "Base",
    "audit",
    "calls",
    "clock",
    "compliance",
    "household",
    "insurance",
    "integration",
    "ledger",
    "oauth2",
    "quotes",
    "rating",
    "reference",
    "security",
    "users",
    "verification",
]
