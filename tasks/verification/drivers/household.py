"""Who else the provider names at the driver's address: the other drivers of the quote, and people nobody told us of.

A known member gets a result of his own. An unknown one is offered, with all that is needed to make a driver of him;
whether he becomes one is for a person to say.
"""

import re
from collections.abc import Sequence
from datetime import date
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

from tasks.verification.drivers.answer import DriverData, Member
from tasks.verification.identity import Identity, identify
from tasks.verification.question import Subject
from tasks.verification.results import Result, note
from worker.crypto import Keyring, Place
from worker.values import value

OFFERS = "household_member_offer"
_STATE = re.compile(r"[A-Za-z]{2}")
_WORD = 50
_NAME = 100


@value(repr=False)
class Mate:
    """Another driver of the same quote. Without a birth date he is recognised by his licence only."""

    driver_id: int
    subject: Subject | None
    license_index: str | None


@value(repr=False)
class Offer:
    """A person to be made a driver, perhaps. `id` is the same whenever he is offered to the same household."""

    id: UUID
    relationship: str | None
    first_name: str | None
    middle_name: str | None
    last_name: str | None
    date_of_birth: date | None
    sealed_license_number: str | None
    license_index: str | None
    license_state: str | None
    license_type: str | None
    license_status: str | None


def mates(rows: Sequence[Any] | None) -> tuple[Mate, ...]:
    """Of the JSON that `question_store.load` reads."""
    return tuple(Mate(row["id"], _subject(row), row["license_index"]) for row in rows or ())


def _subject(row: Any) -> Subject | None:
    if row["date_of_birth"] is None:
        return None
    return Subject(row["first_name"] or "", row["last_name"] or "", date.fromisoformat(row["date_of_birth"]))


def household(
    known: Sequence[Mate], name: str, members: Sequence[Member], keyring: Keyring
) -> tuple[tuple[Result, ...], tuple[Offer, ...]]:
    """A result for each known member, an offer for each unknown one. `name` is that of the household."""
    found = _matches(known, members, keyring)
    results = [_result(nth, members[nth], *match) for nth, match in sorted(found.items())]
    offers = [
        _offer(name, member, keyring)
        for nth, member in enumerate(members)
        if nth not in found and not member.requested and _is_somebody(member)
    ]
    # A person who is named twice is one person.
    return tuple(results), tuple({offer.id: offer for offer in offers}.values())


def _matches(known: Sequence[Mate], members: Sequence[Member], keyring: Keyring) -> dict[int, tuple[Mate, Identity]]:
    """Which member is which driver. The certain ones first: a twin's sister is taken for him only if he isn't there."""
    found: dict[int, tuple[Mate, Identity]] = {}
    free = {mate.driver_id: mate for mate in known}
    if not free:
        return found
    for wanted in (Identity.SAME, Identity.UNSURE):
        for nth, member in enumerate(members):
            if nth in found or member.requested:
                continue
            index = license_index(member.driver_data, keyring)
            for mate in free.values():
                if _compare(mate, member.driver_data, index) is wanted:
                    found[nth] = mate, wanted
                    del free[mate.driver_id]
                    break
    return found


def _compare(mate: Mate, data: DriverData, index: str | None) -> Identity:
    by_name = Identity.OTHER if mate.subject is None else identify(mate.subject, data.client_ref or "", data)
    if by_name is Identity.OTHER and index is not None and index == mate.license_index:
        return Identity.UNSURE
    return by_name


def license_index(data: DriverData, keyring: Keyring) -> str | None:
    """By which equal licence numbers of a state are found; None without both."""
    info = data.license_info
    if info is None or not info.license_number or not _STATE.fullmatch(info.state_code or ""):
        return None
    return keyring.blind_index(f"license|{(info.state_code or '').upper()}", info.license_number)


def _result(nth: int, member: Member, mate: Mate, identity: Identity) -> Result:
    is_same = identity is Identity.SAME
    noted = note(f"household_members[{nth}].driver_data.personal_info", "uncertain")
    return Result(
        "household",
        "driver",
        mate.driver_id,
        "verified" if is_same else "partial",
        verified_data=member.model_dump(mode="json") if is_same else None,
        discrepancies=() if is_same else (noted,),
    )


def _offer(name: str, member: Member, keyring: Keyring) -> Offer:
    data, info = member.driver_data, member.driver_data.license_info
    person = data.personal_info
    index = license_index(data, keyring)
    who = f"{person.first_name}|{person.last_name}|{person.date_of_birth}"
    # From a keyed hash: nobody can find out by trying whether somebody was offered.
    offer_id = uuid5(NAMESPACE_OID, keyring.blind_index(f"{OFFERS}|{name}", who))
    number = info.license_number if info is not None and index is not None else None
    return Offer(
        id=offer_id,
        relationship=_clip(member.relationship, _WORD),
        first_name=_clip(person.first_name, _NAME),
        middle_name=_clip(person.middle_name, _NAME),
        last_name=_clip(person.last_name, _NAME),
        date_of_birth=person.date_of_birth,
        sealed_license_number=number and keyring.encrypt(number, Place(OFFERS, "license_number", str(offer_id))),
        license_index=index,
        license_state=info.state_code.upper() if info is not None and info.state_code and number else None,
        license_type=_clip(info.license_type, 20) if info is not None else None,
        license_status=_clip(info.status, _WORD) if info is not None else None,
    )


def _is_somebody(member: Member) -> bool:
    person = member.driver_data.personal_info
    return bool(person.first_name and person.last_name)


def _clip(text: str | None, length: int) -> str | None:
    return text[:length] if text else None
