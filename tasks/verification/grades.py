"""How well what the provider says of a field matches what the platform says, in one of five grades.

`exact` is equal to the letter; `normalised` differs in spelling only; `partial` is a slip or a part of the other;
`missing` is what only the platform knows. Fields that the platform does not know have no grade.
"""

from collections.abc import Callable
from datetime import date
from typing import Literal

from tasks.verification import spelling

Grade = Literal["exact", "normalised", "partial", "mismatch", "missing"]

_SHORT_NAME = 4
"""In names of fewer letters one other letter makes another name: Ann and Ana, Lee and Lea."""


def of_first_name(ours: str | None, theirs: str | None, middle: str | None, *, nicknames: bool = False) -> Grade | None:
    """Mary Ann may be Mary with the middle name Ann. `nicknames` takes Bill for William."""
    if ours and theirs and ours != theirs:
        one, other = spelling.first_names(ours, None), spelling.first_names(theirs, middle)
        if nicknames:
            one, other = spelling.formal(one), spelling.formal(other)
        if one & other:
            return "normalised"
    return of_name(ours, theirs)


def of_name(ours: str | None, theirs: str | None) -> Grade | None:
    """Partial are Smith and Smith-Jones, M. and Mary, and a slip of one letter."""

    def partly(one: str, other: str) -> bool:
        words, others = spelling.name_words(ours), spelling.name_words(theirs)
        if set(words) & set(others):
            return True
        if 1 in (len(one), len(other)):
            return one[:1] == other[:1]
        return min(len(one), len(other)) >= _SHORT_NAME and spelling.is_one_off(one, other)

    return _of_text(ours, theirs, spelling.name, partly)


def of_whole_name(first: str, last: str, theirs: str | None, *, nicknames: bool = False) -> Grade:
    """A name in one field, as LAST, FIRST MIDDLE or in our order: exact has all our words, partial has one of them.

    It has no one way to be written, so whatever says the same is exact.
    """
    if not theirs:
        return "missing"
    words = set(spelling.name_words(theirs))
    known = spelling.formal(words) if nicknames else words
    said = [bool((spelling.formal({word}) if nicknames else {word}) & known) for word in spelling.name_words(first)]
    said += [word in words for word in spelling.name_words(last)]
    return "exact" if said and all(said) else "partial" if any(said) else "mismatch"


def of_number(ours: str | None, theirs: str | None) -> Grade | None:
    """Licence numbers and their like: partial is a slip of one character, or zeros in front."""

    def partly(one: str, other: str) -> bool:
        return one.lstrip("0") == other.lstrip("0") or (
            min(len(one), len(other)) > _SHORT_NAME and spelling.is_one_off(one, other)
        )

    return _of_text(ours, theirs, spelling.code, partly)


def of_code(ours: str | None, theirs: str | None) -> Grade | None:
    """States and other codes that have no half-way."""
    return _of_text(ours, theirs, spelling.code, lambda _one, _other: False)


def of_model(ours: str | None, theirs: str | None) -> Grade | None:
    """Makes and models of vehicles: partial is the beginning of the other, F-150 and F150 XL, CHEV and Chevrolet."""
    return _of_text(ours, theirs, spelling.code, lambda one, other: one.startswith(other) or other.startswith(one))


def of_year(ours: int | None, theirs: int | None) -> Grade | None:
    """Model years; they begin in the year before, so partial is the next or the last one."""
    if ours is None:
        return None
    if theirs is None:
        return "missing"
    return "exact" if ours == theirs else "partial" if abs(ours - theirs) == 1 else "mismatch"


def of_street(ours: str | None, theirs: str | None) -> Grade | None:
    """Street and ZIP find a door together; partial has the same house number, or all but the unit."""
    if ours and theirs and ours != theirs and spelling.is_same_street(ours, theirs):
        return "normalised"

    def partly(one: str, other: str) -> bool:
        return one.startswith(other) or other.startswith(one) or _house(ours) == _house(theirs) != ""

    return _of_text(ours, theirs, spelling.street, partly)


def of_city(ours: str | None, theirs: str | None) -> Grade | None:
    """Saint Louis is St. Louis."""
    return _of_text(ours, theirs, spelling.street, lambda one, other: spelling.is_one_off(one, other))


def of_zip(ours: str | None, theirs: str | None) -> Grade | None:
    """The four digits behind the five narrow a ZIP down and change nothing; partial is the same sorting centre."""
    return _of_text(ours, theirs, lambda zip_: spelling.code(zip_)[:5], lambda one, other: one[:3] == other[:3])


def of_date(ours: date | None, theirs: date | None) -> Grade | None:
    """Partial: day and month changed places, or one of the three is another."""
    if ours is None:
        return None
    if theirs is None:
        return "missing"
    if ours == theirs:
        return "exact"
    one, other = (ours.year, ours.month, ours.day), (theirs.year, theirs.month, theirs.day)
    is_swapped = ours.year == theirs.year and (ours.month, ours.day) == (theirs.day, theirs.month)
    return "partial" if is_swapped or sum(a == b for a, b in zip(one, other, strict=True)) == 2 else "mismatch"


def _of_text(
    ours: str | None, theirs: str | None, normal: Callable[[str | None], str], partly: Callable[[str, str], bool]
) -> Grade | None:
    if not ours:
        return None
    if not theirs:
        return "missing"
    if ours == theirs:
        return "exact"
    one, other = normal(ours), normal(theirs)
    # What has no letters at all says nothing, and nothing is not a match.
    if one and one == other:
        return "normalised"
    return "partial" if one and other and partly(one, other) else "mismatch"


def _house(street: str | None) -> str:
    words = (street or "").split()
    return spelling.code(words[0]) if words and words[0][:1].isdigit() else ""
