"""One thing that is wrong or doubtful, and what to do about it."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """`code` is a stable word for programs; `what` and `remedy` are sentences, without secrets and personal data.

    A problem will lose work, money or data, or stop the system; a warning is a risk that somebody may have taken.
    """

    level: Literal["problem", "warning"]
    code: str
    what: str
    remedy: str


def problem(code: str, what: str, remedy: str) -> Finding:
    return Finding("problem", code, what, remedy)


def warning(code: str, what: str, remedy: str) -> Finding:
    return Finding("warning", code, what, remedy)
