"""What the configuration asks of an answer, and what the mappings make of it, before anything is written."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.verification.drivers.findings import Findings, findings
from tasks.verification.question import Subject
from tasks.verification.scrutiny import LENIENT, Scrutiny
from tests.tasks.verification.factories import answer_about, make_question, parsed
from worker.configuration.field_mapping.compiled import Row, compile_map
from worker.configuration.field_mapping.targets import Target

NUMBER = "TX00000001"
QUESTION = make_question()
assert QUESTION.address is not None
QUESTION_STREET = (QUESTION.address.street_1 or "").upper().replace(" LN", " LANE")
STRICT = Scrutiny(verified_confidence=Decimal(90), partial_confidence=Decimal(60))
SCORES = st.none() | st.decimals(0, 100, places=2)
VERDICTS = st.sampled_from(["verified", "partial", "failed", "not_found"])
ORDER = ("not_found", "failed", "partial", "verified")


def found_in(scrutiny: Scrutiny, said: dict[str, Any] | None = None, **changes: Any) -> Findings:
    said = said or answer_about(QUESTION, **changes)
    asked = replace(QUESTION, scrutiny=scrutiny)
    return findings(asked, NUMBER, parsed(said), is_cleaned=False, document=said, today=date(2026, 1, 15))


def statuses(found: Findings) -> dict[str, str]:
    return {result.verification_type: result.status for result in found.results}


def grades(found: Findings, kind: str = "household") -> dict[str, str]:
    (result,) = [result for result in found.results if result.verification_type == kind]
    return {note["node_path"]: note["match"] for note in result.discrepancies}


@pytest.mark.parametrize(
    ("score", "verdict", "license_status"),
    [
        (95, "verified", "verified"),
        (90, "verified", "verified"),
        (89, "partial", "verified"),
        (60, "partial", "verified"),
        (59, "failed", "not_verified"),
        (None, "partial", "verified"),
    ],
)
def test_a_score_below_its_threshold_lowers_every_verdict(score: Any, verdict: str, license_status: str) -> None:
    found = found_in(STRICT, confidence_score=score)
    assert set(statuses(found).values()) == {verdict}
    assert (found.driver.status, found.license.status) == (verdict, license_status)
    assert ("confidence_score" in grades(found)) is (verdict != "verified")
    assert set(statuses(found_in(LENIENT, confidence_score=score)).values()) == {"verified"}


@given(VERDICTS, SCORES, SCORES, SCORES)
def test_thresholds_never_improve_a_verdict(said: Any, score: Any, one: Any, other: Any) -> None:
    low, high = sorted((one, other)) if None not in (one, other) else (one, other)
    capped = Scrutiny(verified_confidence=high, partial_confidence=low).capped(said, score)
    assert ORDER.index(capped) <= ORDER.index(said)
    if capped == "verified":
        assert high is None or (score is not None and score >= high)
    assert LENIENT.capped(said, score) == said


def said_with(**parts: dict[str, Any]) -> dict[str, Any]:
    said = answer_about(QUESTION)
    for name, changes in parts.items():
        place = said["driver_data"][name]
        place.get("current_address", place).update(changes)
    return said


def test_each_field_that_is_not_equal_has_its_grade() -> None:
    said = said_with(
        personal_info={"last_name": "VALID"},
        license_info={"license_number": "tx-00000001"},
        address_info={"street_1": QUESTION_STREET, "city": None, "zip_code": "78799"},
    )
    found = found_in(LENIENT, said)
    assert grades(found) == {
        "driver_data.personal_info.last_name": "normalised",
        "driver_data.license_info.license_number": "normalised",
        "driver_data.address_info.current_address.street_1": "normalised",
        "driver_data.address_info.current_address.city": "missing",
        "driver_data.address_info.current_address.zip_code": "partial",
    }
    assert set(grades(found, "identity")) == {"driver_data.personal_info.last_name"}
    assert grades(found_in(LENIENT)) == {}


def test_discrepancies_hold_no_values() -> None:
    said = said_with(
        personal_info={"first_name": "Xaverius", "last_name": "Zebulon"}, address_info={"street_1": "9 Secret Rd"}
    )
    told = str([result.discrepancies for result in found_in(STRICT, said, confidence_score=10).results])
    for value in ("Xaverius", "Zebulon", "Secret", "Vera", "Test Ln", NUMBER):
        assert value not in told


def test_nicknames_count_only_where_the_configuration_says_so() -> None:
    subject = Subject("William", "Valid", date(1980, 5, 15))
    said = said_with(personal_info={"first_name": "Bill"})
    for is_on, verdict in ((False, "partial"), (True, "verified")):
        asked = make_question(subject=subject, scrutiny=Scrutiny(match_nicknames=is_on))
        found = findings(asked, NUMBER, parsed(said), is_cleaned=False)
        assert found.driver.status == verdict
        assert grades(found)["driver_data.personal_info.first_name"] == ("normalised" if is_on else "mismatch")


TYPE = Row(1, "driver_data.license_info.license_type", Target("license", "license_type", "text", 20))
FIRST = Row(2, "driver_data.personal_info.first_name", Target("driver", "first_name", "text", 100))
CITY = Row(3, "driver_data.address_info.current_address.city", Target("address", "city", "text", 100))
MAPPED = Scrutiny(compile_map([TYPE, FIRST, CITY], ["driver_data.personal_info.gender"]))


def test_mappings_write_what_the_answer_is_certainly_about() -> None:
    found = found_in(MAPPED)
    assert found.mapped == {
        "license": {"license_type": "DL"},
        "driver": {"first_name": "Vera"},
        "address": {"city": "Austin"},
    }
    assert grades(found) == {"driver_data.personal_info.gender": "missing"}


@pytest.mark.parametrize(
    ("parts", "tables"),
    [
        ({"personal_info": {"date_of_birth": "1951-01-02"}}, set()),
        ({"personal_info": {"last_name": "Married"}}, {"address"}),
        ({"license_info": {"license_number": "TX99999999"}}, {"driver", "address"}),
        ({"address_info": {"street_1": "9 Elsewhere Rd"}}, {"driver", "license"}),
    ],
)
def test_what_may_be_about_somebody_else_is_not_written(parts: Any, tables: set[str]) -> None:
    assert found_in(MAPPED, said_with(**parts)).mapped.keys() == tables


@pytest.mark.parametrize("verdict", ["failed", "not_found"])
def test_a_failed_verification_maps_nothing(verdict: str) -> None:
    assert found_in(MAPPED, verification_status=verdict).mapped == {}
    assert found_in(replace(MAPPED, partial_confidence=Decimal(99))).mapped == {}


def test_a_field_that_fails_is_a_discrepancy_and_the_others_are_written() -> None:
    rows = [replace(TYPE, validation={"enum": ["CDL"]}), FIRST, replace(CITY, transformation={"upper": True})]
    found = found_in(Scrutiny(compile_map(rows)))
    assert found.mapped == {"driver": {"first_name": "Vera"}}
    assert grades(found, "license") == {TYPE.path: "enum"}
    assert grades(found, "address") == {CITY.path: "bad_rule"}
