"""Is the person in the answer the one we asked about? Decided here, whatever the provider thinks of its own answer."""

import unicodedata
from datetime import date
from enum import Enum, auto
from typing import Protocol

from tasks.verification.drivers.answer import DriverData
from tasks.verification.question import PostalAddress, Subject

_SUFFIXES = frozenset(("jr", "sr", "ii", "iii", "iv"))


class Identity(Enum):
    SAME = auto()
    UNSURE = auto()  # one name differs or something is missing, the birth date does not differ
    OTHER = auto()


class Person(Protocol):
    """Whom an answer names."""

    @property
    def first_name(self) -> str | None: ...
    @property
    def last_name(self) -> str | None: ...
    @property
    def date_of_birth(self) -> date | None: ...


def identify(subject: Subject, client_ref: str, found: DriverData) -> Identity:
    """Is the driver in an answer the one we know?"""
    return identify_person(subject, client_ref, found.client_ref, found.personal_info, found.personal_info.middle_name)


def identify_person(
    subject: Subject, client_ref: str, their_ref: str | None, person: Person, middle_name: str | None = None
) -> Identity:
    """Compare names and birth date, blind to case, accents, punctuation and suffixes.

    Names change (marriage) and are written in several ways, birth dates don't: another birth date is another person.
    """
    if their_ref is not None and their_ref != client_ref:
        return Identity.OTHER
    if person.date_of_birth is not None and person.date_of_birth != subject.date_of_birth:
        return Identity.OTHER
    firsts = _first_names(person.first_name, middle_name)
    same_first = bool(firsts & _first_names(subject.first_name, None))
    same_last = bool(_name(person.last_name)) and _name(person.last_name) == _name(subject.last_name)
    if same_first and same_last and person.date_of_birth is not None:
        return Identity.SAME
    differs_first, differs_last = bool(firsts) and not same_first, bool(_name(person.last_name)) and not same_last
    return Identity.OTHER if differs_first and differs_last else Identity.UNSURE


def same_license(license_number: str, state_code: str, found: DriverData) -> bool:
    """Whether the answer names the licence we asked about; a missing number doesn't."""
    info = found.license_info
    return (
        info is not None
        and info.license_number is not None
        and _code(info.license_number) == _code(license_number)
        and (info.state_code or "").upper() == state_code.upper()
    )


def same_address(asked: PostalAddress, found: PostalAddress) -> bool:
    """Whether two addresses lead to the same door, as far as street, city, state and five-digit ZIP tell."""
    return _door(asked) == _door(found)


def _door(address: PostalAddress) -> tuple[str, ...]:
    street = f"{address.street_1 or ''} {address.street_2 or ''}"
    return _code(street), _code(address.city), _code(address.state), _code(address.zip_code)[:5]


def _first_names(first: str | None, middle: str | None) -> set[str]:
    """The ways to write a first name: "Mary Ann" may come as one name or as first and middle."""
    return {name for name in (_name(first), _name(f"{first or ''} {middle or ''}")) if name}


def _name(name: str | None) -> str:
    plain = _plain(name)
    if plain.isalpha():
        return plain
    words = "".join(c if c.isalpha() else " " for c in plain.replace("'", "").replace(".", "")).split()
    return "".join(word for position, word in enumerate(words) if position == 0 or word not in _SUFFIXES)


def _code(text: str | None) -> str:
    plain = _plain(text)
    return plain if plain.isalnum() else "".join(c for c in plain if c.isalnum())


def _plain(text: str | None) -> str:
    if text is None or text.isascii():
        return (text or "").lower()
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(c for c in decomposed if not unicodedata.combining(c)).casefold()
