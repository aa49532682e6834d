"""What a verification found out, as the rows of its results."""

from decimal import Decimal
from typing import Any, TypedDict

from models.vocabularies import TargetEntityType, VerificationStatus, VerificationType
from worker.values import value


class Discrepancy(TypedDict):
    """`match` says in which way the node differs; `source` who noticed."""

    node_path: str
    match: str
    source: str


def note(node_path: str, match: str, source: str = "worker") -> Discrepancy:
    return {"node_path": node_path, "match": match, "source": source}


@value(repr=False)
class Result:
    """One row of `integration_verification_result`."""

    verification_type: VerificationType
    target_type: TargetEntityType
    target_id: int
    status: VerificationStatus
    confidence: Decimal | None = None
    verified_data: dict[str, Any] | None = None
    discrepancies: tuple[Discrepancy, ...] = ()


@value
class Found:
    """The results of an answer; an API whose answers change more than that adds what."""

    results: tuple[Result, ...]
