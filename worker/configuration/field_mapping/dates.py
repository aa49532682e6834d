"""Dates as providers write them."""

import re
from collections.abc import Callable, Sequence
from datetime import date

from worker.configuration.field_mapping.problems import Unfit

NO_DATE = frozenset(("00000000", "0000-00-00", "00/00/0000"))
"""How old systems write that there is none."""

_PATTERNS = {
    name: re.compile(form)
    for name, form in (
        ("YYYY-MM-DD", r"(?P<y>[0-9]{4})-(?P<m>[0-9]{2})-(?P<d>[0-9]{2})"),
        ("MM/DD/YYYY", r"(?P<m>[0-9]{2})/(?P<d>[0-9]{2})/(?P<y>[0-9]{4})"),
        ("YYYYMMDD", r"(?P<y>[0-9]{4})(?P<m>[0-9]{2})(?P<d>[0-9]{2})"),
        ("MMDDYYYY", r"(?P<m>[0-9]{2})(?P<d>[0-9]{2})(?P<y>[0-9]{4})"),
        ("DD.MM.YYYY", r"(?P<d>[0-9]{2})\.(?P<m>[0-9]{2})\.(?P<y>[0-9]{4})"),
        ("YYYY-MM-DDThh:mm:ss", r"(?P<y>[0-9]{4})-(?P<m>[0-9]{2})-(?P<d>[0-9]{2})T[0-9:.]{5,15}(Z|[+-][0-9:]{2,6})?"),
    )
}
FORMATS = tuple(_PATTERNS)
USUAL = ("YYYY-MM-DD", "MM/DD/YYYY")
"""What the contract's providers write; taken where a mapping names no format."""


def reader(formats: Sequence[str] = USUAL) -> Callable[[str], date | None]:
    """Reads a date in the first format that fits; None for a date of zeros, `Unfit` for what is none."""
    patterns = [_PATTERNS[name] for name in formats]

    def read(text: str) -> date | None:
        if text in NO_DATE:
            return None
        for pattern in patterns:
            if found := pattern.fullmatch(text):
                try:
                    return date(int(found["y"]), int(found["m"]), int(found["d"]))
                except ValueError:
                    break
        raise Unfit("not_a_date")

    return read
