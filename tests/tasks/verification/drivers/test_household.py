"""Which member of a household is which of our drivers, and how the others are offered."""

from datetime import date
from typing import Any

import pytest

from tasks.verification.drivers.answer import Member
from tasks.verification.drivers.household import Mate, Offer, household, mates
from tasks.verification.question import Subject
from tasks.verification.results import Result
from tests.tasks.verification.factories import KEYRING
from worker.crypto import Place

SAM = Mate(1, Subject("Sam", "Twin", date(2001, 1, 1)), KEYRING.blind_index("license|TX", "TX1"))
KIM = Mate(2, Subject("Kim", "Twin", date(2001, 1, 1)), None)


def member(first: str, last: str = "Twin", born: str | None = "2001-01-01", **changes: Any) -> Member:
    person = {"first_name": first, "last_name": last, "date_of_birth": born}
    return Member.model_validate({"relationship": "child", "driver_data": {"personal_info": person}} | changes)


def with_license(first: str, number: str, state: str | None = "TX") -> Member:
    person = {"first_name": first, "last_name": "New", "date_of_birth": "1980-01-01"}
    info = {"license_number": number, "state_code": state}
    return Member.model_validate({"driver_data": {"personal_info": person, "license_info": info}})


def split(known: list[Mate], *members: Member) -> tuple[tuple[Result, ...], tuple[Offer, ...]]:
    return household(known, "quote:1", members, KEYRING)


def test_known_members_get_results_and_unknown_ones_are_offered() -> None:
    results, offers = split([SAM], member("SAM"), member("Nina", "New", "1999-09-09"))
    assert [(result.target_id, result.status, result.discrepancies) for result in results] == [(1, "verified", ())]
    assert [(offer.first_name, offer.date_of_birth) for offer in offers] == [("Nina", date(1999, 9, 9))]


def test_a_twin_is_not_taken_for_the_other_one() -> None:
    """They share last name and birth date, which would do where one name has changed."""
    results, offers = split([SAM, KIM], member("Kim"), member("Sam"), member("Lou"))
    assert [(result.target_id, result.status) for result in results] == [(2, "verified"), (1, "verified")]
    assert [offer.first_name for offer in offers] == ["Lou"]


def test_somebody_who_may_be_known_is_uncertain_and_not_offered() -> None:
    results, offers = split([SAM], member("Sam", "Married"))
    assert [(result.target_id, result.status) for result in results] == [(1, "partial")]
    assert results[0].verified_data is None
    assert offers == ()


def test_a_licence_number_finds_a_driver_whose_names_differ() -> None:
    results, offers = split([SAM], with_license("Nobody", "tx-1"))
    assert [(result.target_id, result.status) for result in results] == [(1, "partial")]
    assert offers == ()


def test_a_driver_without_a_birth_date_is_known_by_the_licence() -> None:
    rows = [
        {"id": 3, "first_name": None, "last_name": "Old", "date_of_birth": None, "license_index": SAM.license_index},
        {"id": 4, "first_name": "Kim", "last_name": "Twin", "date_of_birth": "2001-01-01", "license_index": None},
    ]
    (nameless, kim) = mates(rows)
    assert kim.subject == KIM.subject
    results, offers = split([nameless], with_license("Nobody", "TX1"))
    assert [(result.target_id, result.status) for result in results] == [(3, "partial")]
    assert offers == ()


def test_the_same_person_is_the_same_offer_and_another_households_is_not() -> None:
    _, (first,) = split([], member("Nina", "New"))
    _, (again,) = split([], member("NINA", "NEW"), member("Nina", "New"))
    _, (elsewhere,) = household([], "quote:2", [member("Nina", "New")], KEYRING)
    assert first.id == again.id != elsewhere.id


def test_an_offered_number_is_sealed_for_its_row() -> None:
    _, (offer,) = split([], with_license("Nina", "TX123"))
    assert offer.sealed_license_number is not None
    assert "TX123" not in offer.sealed_license_number
    place = Place("household_member_offer", "license_number", str(offer.id))
    assert KEYRING.decrypt(offer.sealed_license_number, place) == "TX123"
    assert (offer.license_state, offer.license_index) == ("TX", KEYRING.blind_index("license|TX", "TX123"))


@pytest.mark.parametrize("state", [None, "", "Texas", "T", "1X"])
def test_a_number_without_a_state_is_of_no_use(state: str | None) -> None:
    _, (offer,) = split([], with_license("Nina", "TX123", state))
    assert (offer.sealed_license_number, offer.license_index, offer.license_state) == (None, None, None)


def test_whoever_has_no_name_or_was_asked_about_is_not_offered() -> None:
    assert split([], member(""), member("Nina", ""), member("Hank", requested=True)) == ((), ())
