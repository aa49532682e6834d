"""Columns that a mapping may write, and what fits into them. The list itself is the models' and the database's."""

import re
from datetime import date
from typing import Any, Literal

from worker.configuration.field_mapping.problems import Unfit
from worker.configuration.field_mapping.transforms import date_of, integer_of, text_of
from worker.values import value

Kind = Literal["text", "state", "date", "integer"]

_STATE = re.compile(r"[A-Z]{2}")
_LEAST, _MOST = -(2**31), 2**31 - 1
_FIRST_DAY = date(1900, 1, 1)
"""Nothing we store about a person or a vehicle is older; what is, is a slip of the provider's."""


@value
class Target:
    """A column of ours. `max_length` counts characters of text columns."""

    table: str
    column: str
    kind: Kind
    max_length: int | None = None

    def __str__(self) -> str:
        return f"{self.table}.{self.column}"

    def fit(self, value: Any) -> str | int | None:
        """What is stored for the value, dates as ISO text; None for nothing. Raises `Unfit`."""
        match self.kind:
            case "text":
                text = text_of(value)
                if self.max_length is not None and len(text) > self.max_length:
                    raise Unfit("too_long")
                return text or None
            case "state":
                if not _STATE.fullmatch(text := text_of(value)):
                    raise Unfit("not_a_state")
                return text
            case "date":
                if (day := date_of(value)) is not None and day < _FIRST_DAY:
                    raise Unfit("not_a_date")
                return day.isoformat() if day is not None else None
            case "integer":
                if not _LEAST <= (number := integer_of(value)) <= _MOST:
                    raise Unfit("too_large")
                return number
