"""What household drivers is asked: about one driver with licence and, where we have one, address."""

from typing import Any

from tasks.verification.drivers.household import Mate, mates
from tasks.verification.question import (
    TRANSACTION,
    Basics,
    PostalAddress,
    Question,
    Subject,
    client_ref,
    person,
    postal_address,
    searched,
)
from worker.crypto import Keyring, Place
from worker.outcomes import GiveUp
from worker.values import value


@value(kw_only=True)
class DriverQuestion(Question):
    """`mates` are the other drivers of the same quote; `household` names it, so that nobody is offered to it twice."""

    driver_id: int
    license_id: int
    address_id: int | None
    subject: Subject
    sealed_license_number: str
    state_code: str
    address: PostalAddress | None
    household: str
    mates: tuple[Mate, ...]


def driver_question(row: Any, basics: Basics) -> DriverQuestion | GiveUp[Any]:
    """Of a row of `question_store.load`, or why it can't be asked."""
    subject = person(row)
    if isinstance(subject, GiveUp):
        return subject
    if row.license_id is None:
        return GiveUp("unknown_license", f"Driver {row.driver_id} has no licence.")
    for name in ("license_number", "state_code"):
        if not getattr(row, name):
            return GiveUp("incomplete_license", f"Licence {row.license_id} has no {name}.")
    address = postal_address(row)
    return DriverQuestion(
        **basics,
        driver_id=row.driver_id,
        license_id=row.license_id,
        address_id=row.address_id if address is not None else None,
        subject=subject,
        sealed_license_number=row.license_number,
        state_code=row.state_code,
        address=address,
        household=f"quote:{row.quote_id}" if row.quote_id is not None else f"driver:{row.driver_id}",
        mates=mates(row.mates),
    )


def license_number(question: DriverQuestion, keyring: Keyring) -> str:
    """Raises `Undecipherable`."""
    return keyring.decrypt(question.sealed_license_number, Place("license", "license_number", str(question.license_id)))


def request_body(question: DriverQuestion, license_number: str) -> dict[str, Any]:
    """The body of a search. Equal questions give equal bodies, byte for byte."""
    subject = question.subject
    search: dict[str, Any] = {
        "driver": {
            "client_ref": client_ref(question.driver_id),
            "first_name": subject.first_name,
            "last_name": subject.last_name,
            "date_of_birth": subject.date_of_birth.isoformat(),
            "license_number": license_number,
            "state_code": question.state_code,
        }
    }
    if question.address is not None:
        search["address"] = searched(question.address)
    return {
        "transaction_info": TRANSACTION,
        "search": search,
        "options": {"include_household": True, "include_criminal_history": False},
    }
