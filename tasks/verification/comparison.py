"""The fields of an answer beside ours: a remark for each that is not equal to the letter, and how much fits in all."""

from collections.abc import Mapping
from decimal import Decimal

from tasks.verification.grades import Grade
from tasks.verification.results import Discrepancy, note

Grades = Mapping[str, Grade | None]
"""By the field's name in the answer; None is what only the provider knows."""

_WORTH: dict[Grade, Decimal] = {"exact": Decimal(1), "normalised": Decimal(1), "partial": Decimal("0.5")}


def remarks(place: str, grades: Grades) -> list[Discrepancy]:
    """Of the fields of the node `place`."""
    return [note(f"{place}.{name}", grade) for name, grade in grades.items() if grade not in (None, "exact")]


def confidence(grades: Grades) -> Decimal | None:
    """Our own score, 0 to 100, of an answer whose provider gives none: the share of our fields that it confirms.

    A partial match is half of one. None where nothing could be compared.
    """
    known = [_WORTH.get(grade, Decimal(0)) for grade in grades.values() if grade is not None]
    return round(100 * sum(known, Decimal(0)) / len(known), 2) if known else None
