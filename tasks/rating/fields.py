"""What plans and rules read of a quote: fields by name, `vehicle.use`, each of a known type."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from models.vocabularies import RatingFieldType
from tasks.rating.refusal import Refused

Scopes = Mapping[str, Mapping[str, Any]]
"""The values in sight: `quote`, `coverage`, `vehicle`, `driver` and `property`, each by name. A scope may be absent."""

Value = str | bool | Decimal


@dataclass(frozen=True, slots=True)
class Field:
    """A registered field, its name taken apart."""

    scope: str
    name: str
    value_type: RatingFieldType

    @property
    def full_name(self) -> str:
        return f"{self.scope}.{self.name}"

    def read(self, scopes: Scopes) -> Value | None:
        """The value, None where the quote doesn't say. Raises `Refused` for a value of another type."""
        scope = scopes.get(self.scope)
        value = None if scope is None else scope.get(self.name)
        if value is None:
            return None
        if self.value_type == "text" and isinstance(value, str):  # most are: look no further
            return value
        is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
        match self.value_type:
            case "number" if is_number:
                return Decimal(value)
            case "boolean" if isinstance(value, bool):
                return value
            case "date" if isinstance(value, str):
                return value
            case "text" if is_number:  # a limit of 100000, a territory of 7
                return as_key(Decimal(value))
        raise Refused("bad_input", f"{self.full_name} is not a {self.value_type}")


def read_field(full_name: str, types: Mapping[str, RatingFieldType]) -> Field:
    """The field of that name. Raises `Refused` if it isn't registered."""
    if full_name not in types:
        raise Refused("bad_plan", f"there is no rating field {full_name}")
    scope, name = full_name.split(".", 1)
    return Field(scope, name, types[full_name])


def as_key(value: Value) -> str:
    """The value as the keys of factors are written: `3`, `0.5`, `true`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value.normalize():f}" if isinstance(value, Decimal) else value
