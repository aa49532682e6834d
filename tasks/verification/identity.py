"""Is the person in the answer the one we asked about? Decided here, whatever the provider thinks of its own answer."""

from datetime import date
from enum import Enum, auto
from typing import Protocol

from tasks.verification import spelling
from tasks.verification.drivers.answer import DriverData
from tasks.verification.question import PostalAddress, Subject


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


def identify(subject: Subject, client_ref: str, found: DriverData, *, nicknames: bool = False) -> Identity:
    """Is the driver in an answer the one we know?"""
    person = found.personal_info
    return identify_person(subject, client_ref, found.client_ref, person, person.middle_name, nicknames=nicknames)


def identify_person(
    subject: Subject,
    client_ref: str,
    their_ref: str | None,
    person: Person,
    middle_name: str | None = None,
    *,
    nicknames: bool = False,
) -> Identity:
    """Compare names and birth date, blind to case, accents, punctuation and suffixes.

    Names change (marriage) and are written in several ways, birth dates don't: another birth date is another person.
    """
    if their_ref is not None and their_ref != client_ref:
        return Identity.OTHER
    if person.date_of_birth is not None and person.date_of_birth != subject.date_of_birth:
        return Identity.OTHER
    firsts = spelling.first_names(person.first_name, middle_name)
    ours = spelling.first_names(subject.first_name, None)
    same_first = bool(firsts & ours) or (nicknames and bool(spelling.formal(firsts) & spelling.formal(ours)))
    last = spelling.name(person.last_name)
    same_last = bool(last) and last == spelling.name(subject.last_name)
    if same_first and same_last and person.date_of_birth is not None:
        return Identity.SAME
    differs_first, differs_last = bool(firsts) and not same_first, bool(last) and not same_last
    return Identity.OTHER if differs_first and differs_last else Identity.UNSURE


def same_license(license_number: str, state_code: str, found: DriverData) -> bool:
    """Whether the answer names the licence we asked about; a missing number doesn't."""
    info = found.license_info
    return (
        info is not None
        and info.license_number is not None
        and spelling.code(info.license_number) == spelling.code(license_number)
        and (info.state_code or "").upper() == state_code.upper()
    )


def same_address(asked: PostalAddress, found: PostalAddress) -> bool:
    """Whether two addresses lead to the same door, as far as street, city, state and five-digit ZIP tell."""
    return (
        spelling.is_same_street(_street(asked), _street(found))
        and spelling.is_same_street(asked.city, found.city)
        and spelling.code(asked.state) == spelling.code(found.state)
        and spelling.code(asked.zip_code)[:5] == spelling.code(found.zip_code)[:5]
    )


def _street(address: PostalAddress) -> str:
    return f"{address.street_1 or ''} {address.street_2 or ''}"
