"""JSON read and written without changing a number: what masking keeps, it keeps to the last digit."""

import json
import re
from typing import Any

import orjson

_LONG_NUMBER = re.compile(r"\d{16}")


def parse(said: str) -> Any:
    """A document from PostgreSQL. Numbers too long for a float stay as they are spelt."""
    if _LONG_NUMBER.search(said) is None:
        return orjson.loads(said)
    return json.loads(said, parse_int=_number, parse_float=orjson.Fragment)


def dump(document: Any) -> str:
    return orjson.dumps(document).decode()


def _number(spelt: str) -> Any:
    return int(spelt) if len(spelt) < 16 else orjson.Fragment(spelt)
