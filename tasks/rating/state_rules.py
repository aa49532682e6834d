"""What a state makes of a factor: data, not code."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from models.vocabularies import RatingRestriction

ONE = Decimal(1)
_PLACES = ("quote", "coverage", "vehicle", "driver", "property")


@dataclass(frozen=True, slots=True)
class StateRule:
    """`factor` is the name of a group, of a factor, or of what they read: `credit` is also `credit_tier`, though not
    `driver` also `driver_count`."""

    id: str
    factor: str
    restriction: RatingRestriction
    min_factor: Decimal | None
    max_factor: Decimal | None

    def means(self, *names: str | None) -> bool:
        """Whether it is about something of one of these names, wherever that stands."""
        if self.factor in names:
            return True
        return self.factor not in _PLACES and any(name.startswith(f"{self.factor}_") for name in names if name)

    def forbids(self, *, is_renewal: bool) -> bool:
        return self.restriction == "prohibited" or (self.restriction == "new_business_only" and is_renewal)

    def bounded(self, factor: Decimal, *, is_renewal: bool) -> Decimal:
        """The factor as far as the state allows it. At a renewal that must not rise, it may lower the premium only."""
        if self.restriction == "no_renewal_increase" and is_renewal:
            return min(factor, ONE)
        if self.restriction == "capped":
            least = factor if self.min_factor is None else max(factor, self.min_factor)
            return least if self.max_factor is None else min(least, self.max_factor)
        return factor


def forbidding(rules: Sequence[StateRule], *, is_renewal: bool) -> StateRule | None:
    """The first of the rules that keeps the factor out altogether."""
    return next((rule for rule in rules if rule.forbids(is_renewal=is_renewal)), None)
