"""What a criminal answer means, and that nothing decides by itself."""

from datetime import date
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


def result_of(answer: CriminalAnswer) -> Result:
    (result,) = conclude(QUESTION, answer, KEYRING, is_cleaned=False).results
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
        ([profile(last_name="Married")], "partial", {"uncertain"}),
        ([profile(date_of_birth=None)], "partial", {"uncertain"}),
        ([profile(HISTORY, date_of_birth="1950-01-01")], "failed", {"records_found", "other_person"}),
        ([profile(client_ref="driver:43")], "failed", {"other_person"}),
        ([profile(), profile()], "partial", {"several_profiles"}),
        ([profile(), profile(date_of_birth="1950-01-01")], "partial", {"several_profiles", "other_person"}),
    ],
)
def test_an_answer_is_for_a_person_to_read(profiles: list[dict[str, Any]], status: str, noted: set[str]) -> None:
    reading = arrived(*profiles)
    assert reading.event == Status(200)
    result = result_of(reading.answer)
    assert (result.status, matches(result)) == (status, noted)
    assert (result.verified_data is None) is (status in ("failed", "not_found"))


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
