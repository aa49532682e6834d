"""Strangers' JSON, read strictly, together with a text of it that PostgreSQL takes.

Refused: duplicate keys, NaN and infinities, numbers no `numeric` can hold, nesting beyond 64 levels, anything but UTF-8
and anything but an object. Escapes of characters that PostgreSQL can't store (NUL, half a surrogate pair) are legal
JSON and are taken out. RFC 8259 leaves all of these to the reader.
"""

import json
import re
from decimal import Decimal
from typing import Any

from worker.values import value

MAX_DEPTH = 64
MAX_DIGITS = 40

# The group before an escape holds whole pairs of backslashes, so that `\\u0000`, a backslash and text, is left alone.
_UNSTORABLE = re.compile(
    r"(?<!\\)((?:\\\\)*)(?:\\u0000|(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


class Unreadable(ValueError):
    """The bytes are not such a document. The message says what is wrong without repeating any of them."""


@value(repr=False)
class Document:
    """`text` is the JSON as received, without what was taken out; `is_cleaned` tells whether anything was."""

    value: dict[str, Any]
    text: str
    is_cleaned: bool


def parse(body: bytes) -> Document:
    """Numbers come as `int` or `Decimal`. Raises `Unreadable`, and nothing else."""
    try:
        received = body.decode("utf-8")
    except UnicodeDecodeError:
        raise Unreadable("it is not UTF-8") from None
    text = _without_unstorable(received)
    try:
        value = _decoder.decode(text)
    except Unreadable:
        raise
    except RecursionError:
        raise Unreadable(f"it is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError:
        raise Unreadable("it is not JSON") from None
    if not isinstance(value, dict):
        raise Unreadable("it is not a JSON object")
    # Most answers have fewer brackets in all than may stand within each other.
    if text.count("{") + text.count("[") > MAX_DEPTH and _is_deeper(value, MAX_DEPTH):
        raise Unreadable(f"it is nested deeper than {MAX_DEPTH} levels")
    return Document(value, text, is_cleaned=text != received)


def _without_unstorable(text: str) -> str:
    if "\\u" not in text:
        return text
    # A match can end where the next one's look-behind begins, so a row of escapes needs no second pass: every match
    # ends in a hexadecimal digit.
    return _UNSTORABLE.sub(lambda match: match[1] + (match[2] or ""), text)


def _is_deeper(value: Any, levels: int) -> bool:
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return False
    return levels == 0 or any(_is_deeper(item, levels - 1) for item in value)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise Unreadable("an object has the same key twice")
    return result


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise Unreadable(f"a number has more than {MAX_DIGITS} digits")
    return int(digits)


def _decimal(digits: str) -> Decimal:
    number = Decimal(digits) if len(digits) <= MAX_DIGITS else None
    if number is None or (number and abs(number.adjusted()) > MAX_DIGITS) or abs(_exponent(number)) > MAX_DIGITS:
        raise Unreadable(f"a number has more than {MAX_DIGITS} digits")
    return number


def _exponent(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return exponent if isinstance(exponent, int) else MAX_DIGITS + 1


def _constant(_name: str) -> None:
    raise Unreadable("a number is not finite")


_decoder = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_decimal, parse_constant=_constant
)
