"""What a verification found out, as the rows of its results."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypedDict

from models.vocabularies import TargetEntityType, VerificationStatus, VerificationType


class Discrepancy(TypedDict):
    """`match` says in which way the node differs; `source` who noticed."""

    node_path: str
    match: str
    source: str


def note(node_path: str, match: str, source: str = "worker") -> Discrepancy:
    return {"node_path": node_path, "match": match, "source": source}


@dataclass(frozen=True, slots=True, repr=False)
class Result:
    """One row of `integration_verification_result`."""

    verification_type: VerificationType
    target_type: TargetEntityType
    target_id: int
    status: VerificationStatus
    confidence: Decimal | None = None
    verified_data: dict[str, Any] | None = None
    discrepancies: tuple[Discrepancy, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """The results of an answer; an API whose answers change more than that adds what."""

    results: tuple[Result, ...]
