"""Tables for people and JSON for programs, both on standard output."""

import os
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDTH_OF_A_FILE = 200
"""Where nobody has said how wide it is: ids must not be broken in two."""

_LEAST_COLUMN = 10
"""Columns become no narrower than this for the sake of the others."""


def print_json(value: Any) -> None:
    """Dataclasses, times and ids as JSON; lengths of time in seconds, amounts as text."""
    sys.stdout.write(orjson.dumps(value, default=_plain, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z).decode() + "\n")


def print_table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """The first column, which names the row, is never broken, and none is squeezed away: the terminal wraps first."""
    cells = [[cell(value) for value in row] for row in rows]
    table = Table(box=None, pad_edge=False)
    for number, heading in enumerate(headings):
        longest = max(len(text) for text in (heading, *(row[number] for row in cells)))
        least = longest if number == 0 else min(longest, _LEAST_COLUMN)
        table.add_column(heading, overflow="fold", no_wrap=number == 0, min_width=least)
    for row in cells:
        table.add_row(*map(Text, row))
    screen = console()
    screen.print(table, width=max(screen.width, screen.measure(table).minimum), crop=False, no_wrap=True)


def console() -> Console:
    """Standard output as wide as the terminal, or as COLUMNS says."""
    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDTH_OF_A_FILE, highlight=False)


def cell(value: Any) -> str:
    """A value as people read it, in one line that moves no terminal's cursor."""
    match value:
        case None:
            return ""
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S}"
        case timedelta():
            return age(value)
    return "".join(character if character.isprintable() else " " for character in str(value))


def age(length: timedelta) -> str:
    """The two largest units: `3d 4h`, `5m 12s`, `0s`."""
    seconds = max(0, int(length.total_seconds()))
    parts = {"d": seconds // 86400, "h": seconds // 3600 % 24, "m": seconds // 60 % 60, "s": seconds % 60}
    told = [f"{number}{unit}" for unit, number in parts.items() if number][:2]
    return " ".join(told) or "0s"


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError
