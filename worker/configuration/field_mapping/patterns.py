"""Regular expressions that people write into rows, and that no value can make slow.

RE2 walks through a text once, whatever the pattern: its work is bounded by program size times length, and both are
bounded here. Python's `re` backtracks, where `(a+)+$` takes 2^n steps. RE2's price is no look-around and no
back-references within a pattern; those are refused when the rule is saved.
"""

from typing import Any

import re2

from worker.configuration.field_mapping.problems import BadRule, Unfit

MAX_PATTERN = 200
MAX_PROGRAM = 2_000
"""Instructions. `[A-Z0-9]{1,50}` has some hundred; repeats within repeats grow without need beyond that."""

MAX_TEXT = 4_096
"""Characters of a value that patterns look at; a longer one is no field but a document."""

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False  # they would go to standard error, past the log
_OPTIONS.max_mem = 1 << 20


def compile_pattern(pattern: object, name: str) -> Any:
    """An RE2 program. `name` stands in the sentence of the `BadRule` that a pattern of another kind raises."""
    if not isinstance(pattern, str) or not pattern:
        raise BadRule(f"{name} must be a regular expression")
    if len(pattern) > MAX_PATTERN:
        raise BadRule(f"{name} is longer than {MAX_PATTERN} characters")
    try:
        program = re2.compile(pattern, _OPTIONS)
    except re2.error as error:
        raise BadRule(f"{name} is not a regular expression that RE2 knows: {_said(error)}") from None
    if program.programsize > MAX_PROGRAM:
        raise BadRule(f"{name} repeats too much: it takes {program.programsize} steps a character")
    return program


def checked_text(text: str) -> str:
    """The text, if patterns may look at it. Raises `Unfit`."""
    if len(text) > MAX_TEXT:
        raise Unfit("too_long")
    return text


def _said(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
