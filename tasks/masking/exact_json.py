"""JSON read and written without changing a number: what masking keeps, it keeps to the last digit."""

import json
from typing import Any

import orjson

_DIGITS = bytes(ord("0") if byte in b"0123456789" else ord(" ") for byte in range(256))
_LONG_NUMBER = b"0" * 16


def parse(said: str) -> Any:
    """A document from PostgreSQL. Numbers too long for a float stay as they are spelt."""
    if _LONG_NUMBER not in said.encode().translate(_DIGITS):  # a tenth of what a regular expression takes
        return orjson.loads(said)
    return json.loads(said, parse_int=_number, parse_float=orjson.Fragment)


def dump(document: Any) -> str:
    return orjson.dumps(document).decode()


def _number(spelt: str) -> Any:
    return int(spelt) if len(spelt) < 16 else orjson.Fragment(spelt)
