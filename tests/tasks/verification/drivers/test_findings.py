"""What an answer makes of results, driver, licence and address."""

import unicodedata
from datetime import date
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.verification.drivers.answer import NOTHING_FOUND
from tasks.verification.drivers.findings import (
    AddressChange,
    DriverChange,
    Findings,
    LicenseChange,
    error_results,
    findings,
)
from tasks.verification.question import Subject
from tests.tasks.verification.factories import answer_about, make_question, parsed

QUESTION = make_question()
NUMBER = "TX00000001"
OTHERS_NOTE = "The provider knows this number as another person's."


def found_in(said: dict[str, Any], *, is_cleaned: bool = False) -> Findings:
    return findings(QUESTION, NUMBER, parsed(said), is_cleaned=is_cleaned)


def said_with(path: str, value: Any, **changes: Any) -> dict[str, Any]:
    said: dict[str, Any] = orjson.loads(orjson.dumps(answer_about(QUESTION, **changes)))
    *folders, name = path.split(".")
    place = said["driver_data"]
    for folder in folders:
        place = place[folder]
    place[name] = value
    return said


def statuses(found: Findings) -> dict[str, str]:
    return {result.verification_type: result.status for result in found.results}


def notes(found: Findings, kind: str = "household") -> set[tuple[str, str]]:
    (result,) = [result for result in found.results if result.verification_type == kind]
    return {(note["node_path"], note["match"]) for note in result.discrepancies}


@pytest.mark.parametrize(
    ("status", "ours"),
    [
        ("valid", "verified"),
        ("VALID", "verified"),
        ("expired", "expired"),
        ("suspended", "suspended"),
        ("revoked", "invalid"),
        ("cancelled", "not_verified"),
        (None, "not_verified"),
    ],
)
def test_a_verified_person_keeps_the_licence_status_apart(status: str | None, ours: str) -> None:
    found = found_in(said_with("license_info.status", status))
    assert statuses(found) == dict.fromkeys(("household", "license", "identity", "address"), "verified")
    assert found.driver == DriverChange("verified", Decimal(95), "dcs_driver_001")
    assert found.license.status == ours
    assert found.license.external_status == status
    is_noted = ("driver_data.license_info.status", status) in notes(found, "license")
    assert is_noted is (status is not None and status.lower() != "valid")


@pytest.mark.parametrize(
    "answer", [NOTHING_FOUND, parsed(answer_about(QUESTION) | {"verification_status": "not_found"})]
)
def test_nothing_found_fails_the_driver_and_says_nothing_of_the_licence(answer: Any) -> None:
    found = findings(QUESTION, NUMBER, answer, is_cleaned=False)
    assert set(statuses(found).values()) == {"not_found"} or statuses(found)["household"] == "not_found"
    assert found.driver.status == "failed"
    assert found.license.status == "not_verified"


def test_another_person_fails_everything_and_leaves_none_of_their_data() -> None:
    person = {"first_name": "Olga", "last_name": "Other", "date_of_birth": "1951-01-02"}
    found = found_in(said_with("personal_info", person))
    assert set(statuses(found).values()) == {"failed"}
    assert found.driver == DriverChange("failed", Decimal(95), None)
    assert found.license == LicenseChange("invalid", None, OTHERS_NOTE)
    assert found.address is None
    assert ("driver_data.personal_info", "other_person") in notes(found, "identity")
    assert all(result.verified_data is None for result in found.results)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("personal_info.last_name", "Married"),
        ("personal_info.date_of_birth", None),
        ("license_info.license_number", None),
        ("license_info.license_number", "TX00000002"),
        ("license_info.state_code", "OK"),
        ("license_info", None),
    ],
)
def test_what_is_not_certain_is_partial_at_best(path: str, value: Any) -> None:
    found = found_in(said_with(path, value))
    assert statuses(found)["household"] == statuses(found)["license"] == "partial"
    assert found.driver.status == "partial"
    has_licence = path.startswith("personal_info")
    assert found.license.status == ("verified" if has_licence else "not_verified")


def test_a_partial_answer_verifies_the_licence_it_names() -> None:
    found = found_in(answer_about(QUESTION, verification_status="partial", confidence_score=61))
    assert found.driver == DriverChange("partial", Decimal(61), "dcs_driver_001")
    assert found.license.status == "verified"


def test_the_providers_own_no_stays_one() -> None:
    found = found_in(answer_about(QUESTION, verification_status="failed"))
    assert statuses(found)["household"] == "failed"
    assert found.driver.status == "failed"
    assert found.license.status == "not_verified"


def test_an_identification_card_is_noted() -> None:
    found = found_in(said_with("license_info.id_card", 1))
    assert ("driver_data.license_info.id_card", "identification_card") in notes(found, "license")
    assert found.license.notes == "The provider knows this number as an identification card."


@pytest.mark.parametrize(
    ("path", "value", "search", "status", "change"),
    [
        ("delivery_point_validation", "valid", "FOUND", "verified", "valid"),
        ("delivery_point_validation", "unknown", "FOUND", "partial", "unknown"),
        ("delivery_point_validation", None, "FOUND", "partial", "unknown"),
        ("delivery_point_validation", "invalid", "FOUND", "failed", "invalid"),
        ("street_1", "200 Elsewhere Rd", "FOUND", "partial", None),
        ("delivery_point_validation", "valid", "ANNF", "not_found", "valid"),
    ],
)
def test_an_address_is_standardised_only_if_it_is_ours(
    path: str, value: Any, search: str, status: str, change: str | None
) -> None:
    said = said_with(f"address_info.current_address.{path}", value, address_search_status=search)
    found = found_in(said)
    assert statuses(found)["address"] == status
    assert (found.address and found.address.delivery_point_validation) == change
    assert found.driver.status == "verified"


def test_an_address_that_was_not_asked_about_is_not_answered() -> None:
    question = make_question(address=None, address_id=None)
    found = findings(question, NUMBER, parsed(answer_about(QUESTION)), is_cleaned=False)
    assert "address" not in statuses(found)
    assert found.address is None
    assert {result.verification_type for result in error_results(question)} == {"household", "license", "identity"}


def test_the_size_of_the_household_is_kept_and_its_members_have_rows_of_their_own() -> None:
    member = {"relationship": "spouse", "driver_data": {"personal_info": {"first_name": "Sam"}}}
    said = answer_about(QUESTION, household_members=[member], drivers_found=137, records_returned=100, truncated=True)
    (household,) = [result for result in found_in(said).results if result.verification_type == "household"]
    assert household.verified_data is not None
    assert household.verified_data["drivers_found"] == 137
    assert "Sam" not in repr(household.verified_data)
    assert ("household_members", "truncated") in notes(found_in(said))


def test_the_providers_remarks_come_first_and_are_not_repeated() -> None:
    theirs = {"node_path": "driver_data.license_info.license_number", "match": "mismatch"}
    found = found_in(said_with("license_info.license_number", None, discrepancies=[theirs]))
    (licence,) = [result for result in found.results if result.verification_type == "license"]
    assert licence.discrepancies == ({**theirs, "source": "provider"},)


def test_taken_out_characters_are_noted() -> None:
    assert ("", "unstorable_characters_removed") in notes(found_in(answer_about(QUESTION), is_cleaned=True))


def test_an_error_leaves_a_row_for_everything_that_was_asked() -> None:
    rows = [(row.verification_type, row.target_type, row.status) for row in error_results(QUESTION)]
    assert rows == [
        ("household", "driver", "error"),
        ("license", "driver", "error"),
        ("identity", "driver", "error"),
        ("address", "address", "error"),
    ]


NAMES = st.sampled_from(["Vera", "VERA", "Véra", "Valid", "Valid Jr", "Olga", "", "Ольга"]) | st.text(max_size=8)
DATES = st.sampled_from([date(1980, 5, 15), date(1980, 5, 16)]) | st.dates()


@given(
    asked=st.builds(Subject, NAMES, NAMES, DATES),
    first=st.none() | NAMES,
    last=st.none() | NAMES,
    born=st.none() | DATES,
    number=st.sampled_from([NUMBER, "TX00000002", None]),
    status=st.sampled_from(["verified", "partial", "failed", "not_found"]),
)
def test_verified_never_comes_out_for_another_person(
    asked: Subject, first: str | None, last: str | None, born: date | None, number: str | None, status: str
) -> None:
    said = answer_about(QUESTION, verification_status=status)
    said["driver_data"]["personal_info"] = {
        "first_name": first,
        "last_name": last,
        "date_of_birth": born.isoformat() if born else None,
    }
    said["driver_data"]["license_info"]["license_number"] = number
    question = make_question(subject=asked)
    found = findings(question, NUMBER, parsed(said), is_cleaned=False)
    if "verified" in (found.driver.status, statuses(found)["household"], statuses(found)["license"]):
        assert status == "verified"
        assert number == NUMBER
        assert born == asked.date_of_birth
        assert letters(first) == letters(asked.first_name)
        assert letters(last).removesuffix("jr") == letters(asked.last_name).removesuffix("jr")
    if statuses(found)["identity"] == "verified":
        assert born == asked.date_of_birth


def letters(name: str | None) -> str:
    plain = unicodedata.normalize("NFKD", name or "").casefold()
    return "".join(character for character in plain if character.isalpha())


def test_address_changes_carry_the_confidence() -> None:
    assert found_in(answer_about(QUESTION)).address == AddressChange(Decimal(95), "valid")
