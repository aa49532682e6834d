"""How the provider writes values, read strictly into frozen ones; all three APIs share it.

Tolerated is only what the real service is known to do: dates as `MM/DD/YYYY`, a date of eight zeros for none, flags as
1 and 0. Anything else that is not in the contract's form makes the answer unusable.
"""

import re
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_ISO_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_AMERICAN_DATE = re.compile(r"([0-9]{2})/([0-9]{2})/([0-9]{4})")


def _date(value: Any) -> Any:
    if not isinstance(value, str) or value == "00000000":
        return None if value == "00000000" else value
    if _ISO_DATE.fullmatch(value):
        return date.fromisoformat(value)
    if american := _AMERICAN_DATE.fullmatch(value):
        month, day, year = american.groups()
        return date(int(year), int(month), int(day))
    return value


def _flag(value: Any) -> Any:
    return bool(value) if type(value) is int and value in (0, 1) else value


def _decimal(value: Any) -> Any:
    return Decimal(value) if type(value) is int else value


def _none_as_empty(value: Any) -> Any:
    return () if value is None else tuple(value) if isinstance(value, list) else value


Date = Annotated[date | None, BeforeValidator(_date)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Score = Annotated[Decimal, Field(ge=0, le=100, max_digits=5, decimal_places=2), BeforeValidator(_decimal)]
Many = BeforeValidator(_none_as_empty)
"""Of a list, for which the provider may send null."""


class Part(BaseModel):
    """An object of an answer; what it holds beside the fields that are named is ignored."""

    # Inputs stay out of error texts: they are personal data.
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", hide_input_in_errors=True)
