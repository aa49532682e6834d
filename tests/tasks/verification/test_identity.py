"""Whose answer is it? Spelling doesn't matter, birth dates and names do."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.verification.drivers.answer import DriverData
from tasks.verification.identity import Identity, identify, same_address, same_license
from tasks.verification.question import PostalAddress, Subject

BORN = date(1980, 5, 15)
VERA = Subject("Vera", "Valid", BORN)
SAME, UNSURE, OTHER = Identity.SAME, Identity.UNSURE, Identity.OTHER


def found(first: Any = "Vera", last: Any = "Valid", born: Any = BORN, **others: Any) -> DriverData:
    person = {"first_name": first, "last_name": last, "date_of_birth": born} | others
    return DriverData.model_validate({"personal_info": person})


@pytest.mark.parametrize(
    ("asked", "data", "identity"),
    [
        (VERA, found(), SAME),
        (VERA, found("VERA", "VALID"), SAME),
        (Subject("Zoë", "O'Brien-Muñoz", BORN), found("ZOE", "OBrien Munoz"), SAME),
        (Subject("John", "Smith Jr.", BORN), found("John", "Smith"), SAME),
        (Subject("John", "Smith", BORN), found("John", "SMITH III"), SAME),
        (Subject("Mary Ann", "Valid", BORN), found("Mary", middle_name="Ann"), SAME),
        (VERA, found(born=None), UNSURE),
        (VERA, found(first=None), UNSURE),
        (VERA, found(last=None), UNSURE),
        (VERA, found(last="Married"), UNSURE),
        (VERA, found(first="Twin"), UNSURE),
        (VERA, found(None, None, None), UNSURE),
        (VERA, found("Olga", "Other"), OTHER),
        (VERA, found(born=date(1980, 5, 16)), OTHER),
        (VERA, found("Olga", "Other", date(1951, 1, 2)), OTHER),
        (Subject("—", "—", BORN), found("?", "?"), UNSURE),
        (Subject("Jr", "Iv", BORN), found("Sr", "Ii"), OTHER),
    ],
)
def test_names_are_compared_by_their_letters_and_birth_dates_exactly(
    asked: Subject, data: DriverData, identity: Identity
) -> None:
    assert identify(asked, "driver:42", data) is identity


def test_an_answer_to_another_question_is_about_another_person() -> None:
    data = found().model_copy(update={"client_ref": "driver:43"})
    assert identify(VERA, "driver:42", data) is OTHER
    assert identify(VERA, "driver:43", data) is SAME


@given(st.text(), st.text(), st.dates(), st.text(), st.text(), st.dates())
def test_another_birth_date_is_always_another_person(
    first: str, last: str, born: date, their_first: str, their_last: str, their_born: date
) -> None:
    identity = identify(Subject(first, last, born), "driver:1", found(their_first, their_last, their_born))
    assert (identity is OTHER) or born == their_born


@pytest.mark.parametrize(
    ("number", "state", "is_same"),
    [
        ("TX00000001", "TX", True),
        ("tx 0000-0001", "tx", True),
        ("TX00000001", "OK", False),
        ("TX00000001", None, False),
        ("TX00000002", "TX", False),
        ("", "TX", False),
        (None, "TX", False),
    ],
)
def test_a_licence_is_the_same_by_number_and_state(number: str | None, state: str | None, is_same: bool) -> None:
    info = {"license_number": number, "state_code": state}
    data = DriverData.model_validate({"personal_info": {}, "license_info": info})
    assert same_license("TX00000001", "TX", data) is is_same


def test_without_licence_data_there_is_no_same_licence() -> None:
    assert not same_license("TX00000001", "TX", found())


@pytest.mark.parametrize(
    ("street_1", "street_2", "city", "state", "zip_code", "is_same"),
    [
        ("100 Test Ln", None, "Austin", "TX", "78701", True),
        ("100 TEST LN.", "", "AUSTIN", "tx", "78701-0001", True),
        ("100 Test Ln", "Apt 2", "Austin", "TX", "78701", False),
        ("101 Test Ln", None, "Austin", "TX", "78701", False),
        ("100 Test Ln", None, "Austin", "TX", "78702", False),
        (None, None, None, None, None, False),
    ],
)
def test_an_address_is_the_same_if_it_leads_to_the_same_door(
    street_1: Any, street_2: Any, city: Any, state: Any, zip_code: Any, is_same: bool
) -> None:
    asked = PostalAddress("100 Test Ln", None, "Austin", "TX", "78701")
    assert same_address(asked, PostalAddress(street_1, street_2, city, state, zip_code)) is is_same
