"""What masking does to one value. Every result is a fixed point: the same operator gives it back unchanged.

The type stays, or null takes the value's place: whoever reads masked documents needs no other parser for them.
"""

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from typing import Any

from models.vocabularies import DataClass, MaskingOperator

REDACTED = "[REDACTED]"
HIDDEN = "*"

Operator = Callable[[Any], Any]
Tokens = Callable[[str, str], str]
"""Of a domain and a value, a token that is equal for equal values: `worker.crypto.Keyring.token`."""

_TOKEN = re.compile(r"tok:v1:[0-9a-f]{8}:[a-z2-7]{32}")
_YEAR_FIRST = re.compile(r"\s*(\d{4})(?:-\d|/\d|\d{4}\s*$)")
_YEAR_LAST = re.compile(r"\s*\d{1,2}[/.-]\d{1,2}[/.-](\d{4})\b")
_PREFIX_LENGTH = {4: 24, 6: 48}
_EXACT = 2**53  # beyond it, not every whole number is a float, and a bucket would have no firm end


def operator(name: MaskingOperator, params: Mapping[str, Any], data_class: DataClass, tokens: Tokens) -> Operator:
    """The operator with its parameters, which `rules.problem_of` has found to be right. Takes any scalar of JSON."""
    match name:
        case "keep":
            return lambda value: value
        case "remove":
            return lambda _: None
        case "redact":
            return _of_text(lambda _: REDACTED)
        case "hmac":
            return _of_text(lambda value: tokens(data_class, value) if value.strip() else REDACTED)
        case "date_year":
            return _of_text(lambda value: _year(value, params.get("oldest_year", 0)))
        case "truncate_ip":
            return _of_text(_network)
        case "bucket":
            return lambda value: _bucket(value, params["width"])
        case "partial":
            head, tail, hidden = (params.get(key, 0) for key in ("keep_head", "keep_tail", "min_hidden"))
            return _of_text(lambda value: _partial(value, head, tail, hidden))


def is_masked(value: str) -> bool:
    """Whether the text can only have come from masking, whatever the rule was."""
    return value == REDACTED or (value.startswith("tok:v1:") and _TOKEN.fullmatch(value) is not None)


def _of_text(change: Callable[[str], str]) -> Operator:
    def apply(value: Any) -> Any:
        if not isinstance(value, str):
            return None
        return value if is_masked(value) else change(value)

    return apply


def _year(value: str, oldest: int) -> str:
    found = _YEAR_FIRST.match(value) or _YEAR_LAST.match(value)
    return f"{max(int(found[1]), oldest):04d}-01-01" if found else REDACTED


def _network(value: str) -> str:
    address, _, length = value.strip().partition("/")
    try:
        network = ip_network(f"{address}/{length}" if length else address, strict=False)
    except ValueError:
        return REDACTED
    known = _PREFIX_LENGTH[network.version]
    return str(network if network.prefixlen <= known else network.supernet(new_prefix=known))


def _partial(value: str, head: int, tail: int, hidden: int) -> str:
    between = len(value) - head - tail
    if between < hidden:
        return REDACTED
    return value[:head] + HIDDEN * between + value[len(value) - tail :]


def _bucket(value: Any, width: int) -> Any:
    """The lower end of the range a number falls into; text is masked whole, for it holds no number to sort by."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return REDACTED if isinstance(value, str) else None
    return value // width * width if abs(value) < _EXACT else None
