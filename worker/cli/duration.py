"""Lengths of time as people type them."""

import re
from datetime import timedelta

from worker.errors import BadRequest

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(text: str) -> timedelta:
    """`60s`, `15m`, `2h`, `1d`; more than nothing. Raises `BadRequest`."""
    match = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if match is None or not int(match[1]):
        raise BadRequest("bad_duration", f"{text!r} is not a length of time: write 60s, 15m, 2h or 1d")
    return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
