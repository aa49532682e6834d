"""What a criminal answer means, and that nothing decides by itself."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.verification.classify import Status, Trouble
from tasks.verification.criminal.answer import FORM, NOTHING_FOUND, CriminalAnswer
from tasks.verification.criminal.findings import conclude, error_results
from tasks.verification.criminal.question import CriminalQuestion, criminal_body
from tasks.verification.question import Subject
from tasks.verification.reading import Reading, Received, read
from tasks.verification.results import Result
from tasks.verification.scrutiny import Scrutiny
from tests.tasks.verification.factories import KEYRING, make_account

QUESTION = CriminalQuestion(
    request_id=7,
    account=make_account(api="criminal"),
    correlation_id="c",
    idempotency_key="k",
    retry_count=0,
    body_sent=None,
    time_left_s=None,
    driver_id=42,
    subject=Subject("Fay", "Felony", date(1972, 2, 2)),
)
HISTORY = {
    "name": "FELONY, FAY",
    "date_of_birth": "1972-02-02",
    "search_source": "P",
    "race": "U",
    "height": "506",
    "weight": "150",
    "total_offenses": 1,
    "offenses": [{"degree": "FELONY", "sentence": {"confinement_months": 24}}],
}


def profile(*histories: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "client_ref": "driver:42",
        "first_name": "Fay",
        "last_name": "Felony",
        "date_of_birth": "1972-02-02",
        "criminal_status": "records_found" if histories else "clear",
        "histories": list(histories),
    } | changes


def arrived(*profiles: dict[str, Any], **changes: Any) -> Reading:
    said = {"transaction_id": "t", "criminal_profiles": list(profiles)} | changes
    return read(FORM, QUESTION, Received(200, {}, orjson.dumps(said)))


def result_of(answer: CriminalAnswer, question: CriminalQuestion = QUESTION) -> Result:
    (result,) = conclude(question, answer, KEYRING, is_cleaned=False).results
    return result


def matches(result: Result) -> set[str]:
    return {noted["match"] for noted in result.discrepancies}


def test_the_body_is_the_contracts() -> None:
    assert criminal_body(QUESTION) == {
        "transaction_info": {"department_id": "1", "user_id": "svc", "user_name": "worker"},
        "persons": [
            {"client_ref": "driver:42", "first_name": "Fay", "last_name": "Felony", "date_of_birth": "1972-02-02"}
        ],
        "options": {"search_aliases": True},
    }


@pytest.mark.parametrize(
    ("profiles", "status", "noted"),
    [
        ([], "not_found", set()),
        ([profile()], "verified", set()),
        ([profile(HISTORY)], "verified", {"records_found"}),
        ([profile(HISTORY | {"search_source": "A"})], "partial", {"records_found", "found_by_alias"}),
        ([profile(HISTORY | {"search_source": None})], "partial", {"records_found", "found_by_alias"}),
        ([profile(last_name="Married")], "partial", {"uncertain", "mismatch"}),
        ([profile(date_of_birth=None)], "partial", {"uncertain", "missing"}),
        ([profile(HISTORY, date_of_birth="1950-01-01")], "failed", {"records_found", "other_person", "mismatch"}),
        ([profile(client_ref="driver:43")], "failed", {"other_person"}),
        ([profile(), profile()], "partial", {"several_profiles"}),
        ([profile(), profile(date_of_birth="1950-01-01")], "partial", {"several_profiles", "other_person", "mismatch"}),
    ],
)
def test_an_answer_is_for_a_person_to_read(profiles: list[dict[str, Any]], status: str, noted: set[str]) -> None:
    reading = arrived(*profiles)
    assert reading.event == Status(200)
    result = result_of(reading.answer)
    assert (result.status, matches(result)) == (status, noted)
    assert (result.verified_data is None) is (status in ("failed", "not_found"))


PERSON, FILE = "criminal_profiles[0]", "criminal_profiles[0].histories[0]"


@pytest.mark.parametrize(
    ("said", "nicknames", "grades", "status"),
    [
        (profile(first_name="FAY"), False, {f"{PERSON}.first_name": "normalised"}, "verified"),
        (profile(first_name="Fáy"), False, {f"{PERSON}.first_name": "normalised"}, "verified"),
        (profile(first_name="Faith"), False, {PERSON: "uncertain", f"{PERSON}.first_name": "mismatch"}, "partial"),
        (profile(first_name=None), False, {PERSON: "uncertain", f"{PERSON}.first_name": "missing"}, "partial"),
        (profile(last_name="FELONY JR."), False, {f"{PERSON}.last_name": "normalised"}, "verified"),
        (profile(last_name="Felony-X"), False, {PERSON: "uncertain", f"{PERSON}.last_name": "partial"}, "partial"),
        (profile(date_of_birth="02/02/1972"), False, {}, "verified"),
        (
            profile(date_of_birth="1973-02-02"),
            False,
            {PERSON: "other_person", f"{PERSON}.date_of_birth": "partial"},
            "failed",
        ),
        (profile(HISTORY | {"name": "Fay Q Felony"}), False, {}, "verified"),
        (profile(HISTORY | {"name": "FELONY, FRAN"}), False, {f"{FILE}.name": "partial"}, "partial"),
        (profile(HISTORY | {"name": "OTHER, FRAN"}), False, {f"{FILE}.name": "mismatch"}, "partial"),
        (profile(HISTORY | {"name": None}), False, {f"{FILE}.name": "missing"}, "verified"),
        (profile(HISTORY | {"date_of_birth": "1950-12-31"}), False, {f"{FILE}.date_of_birth": "mismatch"}, "partial"),
        (
            profile(HISTORY | {"name": "ALIAS, SAM", "search_source": "A"}),
            False,
            {f"{FILE}.search_source": "found_by_alias"},
            "partial",
        ),
    ],
)
def test_each_field_of_a_profile_and_its_files_has_a_grade(
    said: dict[str, Any], nicknames: bool, grades: dict[str, str], status: str
) -> None:
    question = replace(QUESTION, scrutiny=Scrutiny(match_nicknames=nicknames))
    result = result_of(arrived(said).answer, question)
    found = {noted["node_path"]: noted["match"] for noted in result.discrepancies}
    found.pop(f"{PERSON}.criminal_status", None)
    assert (found, result.status) == (grades, status)


def test_nicknames_are_the_same_name_only_where_they_are_allowed() -> None:
    said = arrived(profile(HISTORY | {"name": "FELONY, BILL"}, first_name="Bill")).answer
    william = replace(QUESTION, subject=replace(QUESTION.subject, first_name="William"))
    strict, lenient = result_of(said, william), result_of(said, replace(william, scrutiny=NICKNAMES))
    assert (strict.status, matches(strict)) == ("partial", {"records_found", "uncertain", "mismatch", "partial"})
    assert (lenient.status, matches(lenient)) == ("verified", {"records_found", "normalised"})


NICKNAMES = Scrutiny(match_nicknames=True)
STRICT = Scrutiny(verified_confidence=Decimal(90), partial_confidence=Decimal(60))


@pytest.mark.parametrize(
    ("said", "score", "status"),
    [
        (profile(), 100, "verified"),
        (profile(date_of_birth=None), Decimal("66.67"), "partial"),
        (profile(first_name="Fran", date_of_birth=None), Decimal("33.33"), "failed"),
    ],
)
def test_thresholds_count_for_the_share_of_fields_that_fit(said: dict[str, Any], score: Any, status: str) -> None:
    result = result_of(arrived(said).answer, replace(QUESTION, scrutiny=STRICT))
    assert (result.confidence, result.status) == (score, status)
    assert ("below_threshold" in matches(result)) is (status == "failed")


def test_no_threshold_decides_among_several_profiles() -> None:
    other = profile(first_name="Fran", last_name="Other", date_of_birth=None)
    result = result_of(arrived(other, other).answer, replace(QUESTION, scrutiny=STRICT))
    assert (result.status, result.confidence) == ("partial", None)


@given(st.lists(st.builds(profile, criminal_status=st.sampled_from(["clear", "records_found"])), min_size=2))
def test_several_profiles_are_never_decided(profiles: list[dict[str, Any]]) -> None:
    result = result_of(arrived(*profiles).answer)
    assert result.status == "partial"
    assert "several_profiles" in matches(result)


def test_an_empty_body_is_the_answer_that_nothing_was_found() -> None:
    assert read(FORM, QUESTION, Received(200, {}, b"")).answer == NOTHING_FOUND


FORBIDDEN = ("race", "height", "weight", "506", "150", "sentence", "confinement", "state_id", "gender")


@pytest.mark.parametrize(
    "received",
    [
        Received(200, {}, orjson.dumps({"criminal_profiles": [profile(HISTORY)], "race": "U", "weight": "150"})),
        Received(200, {}, orjson.dumps({"criminal_profiles": [profile(HISTORY, criminal_status="weight 150")]})),
        Received(200, {}, b'{"criminal_profiles": [{"race": "U", "weight": "150"'),
        Received(200, {"content-type": "text/html"}, b"race, height 506, weight 150"),
        Received(200, {}, b'{"race": "U"}', is_oversized=True),
        Received(200, {}, b'{"response_status_code": 500, "race": "U"}'),
        Received(400, {}, b'{"error_code": "INVALID_REQUEST", "error_message": "race U, weight 150"}'),
        Received(500, {}, b"race U, height 506"),
    ],
)
def test_whatever_arrives_race_height_and_weight_are_not_kept(received: Received) -> None:
    """An answer that can't be read is not kept at all: nobody knows what stands in it."""
    reading = read(FORM, QUESTION, received)
    said = f"{reading.kept}{reading.problem}{reading.answer!r}{reading.event}"
    assert [word for word in FORBIDDEN if word in said] == []
    assert (reading.event is Trouble.UNREADABLE) <= (reading.kept is None)


def test_an_error_leaves_one_row_that_says_so() -> None:
    assert [(row.verification_type, row.target_id, row.status) for row in error_results(QUESTION)] == [
        ("criminal", 42, "error")
    ]
