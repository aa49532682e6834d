"""What a quote says about itself, as the database's `quote_rating_inputs` gives it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tasks.rating.refusal import Refused


@dataclass(frozen=True, slots=True)
class QuoteInputs:
    """`coverages` are the selected ones with their limits. Numbers are int or Decimal, never float."""

    quote: Mapping[str, Any]
    coverages: Mapping[str, Mapping[str, Any]]
    vehicles: Sequence[Mapping[str, Any]]
    drivers: Sequence[Mapping[str, Any]]
    premises: Mapping[str, Any]

    @property
    def is_renewal(self) -> bool:
        return self.quote.get("is_renewal") is True


def read_inputs(document: str) -> QuoteInputs:
    """Raises `Refused` with code bad_input where the document hasn't the form."""
    given = json.loads(document, parse_float=Decimal)
    coverages = {
        name: {} if selected is True else selected
        for name, selected in _object(given["coverages"], "coverage_selections").items()
        if selected is not None and selected is not False
    }
    for name, selected in coverages.items():
        _object(selected, f"coverage_selections.{name}")
    vehicles = [_object(entry, f"vehicle {number}") for number, entry in enumerate(given["vehicles"], 1)]
    drivers = [_object(entry, f"driver {number}") for number, entry in enumerate(given["drivers"], 1)]
    counts = {"vehicle_count": len(vehicles), "driver_count": len(drivers), "coverage_count": len(coverages)}
    return QuoteInputs(
        {**_object(given["quote"], "rating_inputs"), **counts},
        coverages,
        vehicles,
        drivers,
        _object(given["property"], "property_info"),
    )


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Refused("bad_input", f"{name} is not a JSON object")
    return value
