"""How an answer is looked at: what the configuration and the field mappings of its scope say."""

from decimal import Decimal
from typing import Literal

from worker.configuration.field_mapping.compiled import NO_MAP, FieldMap
from worker.values import value

Verdict = Literal["verified", "partial", "failed", "not_found"]


@value
class Scrutiny:
    """`verified_confidence` and `partial_confidence` are the least scores for these verdicts; None asks for none."""

    fields: FieldMap = NO_MAP
    verified_confidence: Decimal | None = None
    partial_confidence: Decimal | None = None
    match_nicknames: bool = False

    def capped(self, status: Verdict, score: Decimal | None) -> Verdict:
        """The verdict as far as its score carries it; where a score is asked for, none at all is too low."""
        if status in ("verified", "partial") and _is_below(score, self.partial_confidence):
            return "failed" if score is not None else "partial"
        if status == "verified" and _is_below(score, self.verified_confidence):
            return "partial"
        return status


def _is_below(score: Decimal | None, least: Decimal | None) -> bool:
    return least is not None and (score is None or score < least)


LENIENT = Scrutiny()
"""Nothing is mapped, and the provider's verdict counts whatever its score."""
