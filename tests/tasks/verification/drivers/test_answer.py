"""Answers are read strictly; only the provider's known habits are forgiven."""

from datetime import date
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.verification import reading
from tasks.verification.classify import Status, Trouble
from tasks.verification.drivers.answer import FORM, NOTHING_FOUND
from tasks.verification.reading import RAW_BYTES, Reading, Received
from tests.tasks.verification.factories import answer_about, make_question

JSON_HEADERS = {"content-type": "application/json"}
GOOD = answer_about(make_question())
SECRET = "Zzyzx-1234"  # stands for a person's data wherever it is put


def read(status: int, headers: dict[str, str], body: bytes) -> Reading:
    return reading.read(FORM, make_question(), Received(status, headers, body))


def read_json(said: Any, status: int = 200) -> Reading:
    return read(status, JSON_HEADERS, orjson.dumps(said))


def changed(path: str, value: Any) -> dict[str, Any]:
    """A good answer with one node replaced."""
    said: dict[str, Any] = orjson.loads(orjson.dumps(GOOD))
    *folders, name = path.split(".")
    place = said
    for folder in folders:
        place = place[folder]
    place[name] = value
    return said


def test_a_good_answer_is_understood_and_kept_as_it_came() -> None:
    body = orjson.dumps(GOOD, option=orjson.OPT_INDENT_2)
    reading = read(200, JSON_HEADERS, body)
    assert reading.event == Status(200)
    assert reading.kept == body.decode()
    assert reading.transaction_id == "dcs_0123"
    assert reading.answer is not None
    assert reading.answer.confidence_score == Decimal(95)
    assert reading.answer.driver_data is not None
    assert reading.answer.driver_data.personal_info.date_of_birth == date(1980, 5, 15)


@pytest.mark.parametrize("body", [b"", b" \r\n"])
def test_an_empty_body_is_the_answer_that_nothing_was_found(body: bytes) -> None:
    reading = read(200, {}, body)
    assert (reading.event, reading.answer, reading.kept) == (Status(200), NOTHING_FOUND, None)


@pytest.mark.parametrize(
    ("value", "born"),
    [
        ("1980-05-15", date(1980, 5, 15)),
        ("05/15/1980", date(1980, 5, 15)),
        ("00000000", None),
        (None, None),
    ],
)
def test_dates_come_in_the_known_forms(value: Any, born: date | None) -> None:
    reading = read_json(changed("driver_data.personal_info.date_of_birth", value))
    assert reading.answer is not None
    assert reading.answer.driver_data is not None
    assert reading.answer.driver_data.personal_info.date_of_birth == born


@pytest.mark.parametrize(("value", "flag"), [(1, True), (0, False), (True, True), (False, False)])
def test_flags_come_as_numbers_too(value: Any, flag: bool) -> None:
    reading = read_json(changed("driver_data.license_info.id_card", value))
    assert reading.answer is not None
    assert reading.answer.driver_data is not None
    assert reading.answer.driver_data.license_info is not None
    assert reading.answer.driver_data.license_info.id_card is flag


def test_misspelt_names_are_read() -> None:
    said = changed("driver_data.license_info.last_transacton_date", "12/31/2022")
    said["driver_data"]["license_info"]["restrictons"] = ["B"]
    said["driver_data"]["asociated_licenses"] = [{"state_code": "OK"}]
    answer = read_json(said).answer
    assert answer is not None
    assert answer.driver_data is not None
    assert answer.driver_data.license_info is not None
    assert answer.driver_data.license_info.last_transaction_date == date(2022, 12, 31)
    assert answer.driver_data.license_info.restrictions == ("B",)
    assert answer.driver_data.associated_licenses == ({"state_code": "OK"},)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("verification_status", SECRET),
        ("verification_status", None),
        ("confidence_score", 101),
        ("confidence_score", -1),
        ("confidence_score", "95"),
        ("confidence_score", 95.123),
        ("driver_data", None),
        ("driver_data", [SECRET]),
        ("driver_data.personal_info", None),
        ("driver_data.personal_info.date_of_birth", "19800515"),
        ("driver_data.personal_info.date_of_birth", "1980-5-15"),
        ("driver_data.personal_info.date_of_birth", "1980-02-30"),
        ("driver_data.personal_info.date_of_birth", "31/12/1980"),
        ("driver_data.personal_info.date_of_birth", "1980-05-15T00:00:00"),
        ("driver_data.personal_info.date_of_birth", ""),
        ("driver_data.personal_info.date_of_birth", 19800515),
        ("driver_data.personal_info.date_of_birth", SECRET),
        ("driver_data.personal_info.first_name", 7),
        ("driver_data.license_info.id_card", 2),
        ("driver_data.license_info.id_card", SECRET),
        ("household_members", {SECRET: SECRET}),
        ("household_members", [{"driver_data": None}]),
        ("discrepancies", [SECRET]),
    ],
)
def test_what_is_against_the_contract_is_named_without_its_value(path: str, value: Any) -> None:
    reading = read_json(changed(path, value))
    assert reading.event is Trouble.UNREADABLE
    assert reading.answer is None
    assert path.split(".")[0] in reading.problem
    assert SECRET not in reading.problem


@pytest.mark.parametrize("status", [400, 401, 429, 500, 503, 588])
def test_a_status_inside_the_body_counts(status: int) -> None:
    reading = read_json({"response_status_code": status, "transaction_id": "dcs_9"})
    assert reading.event == Status(status)
    assert reading.transaction_id == "dcs_9"


@pytest.mark.parametrize("status", [200, 204, "500", None, 399])
def test_another_status_inside_the_body_does_not(status: Any) -> None:
    assert read_json(GOOD | {"response_status_code": status}).event == Status(200)


@pytest.mark.parametrize(
    ("code", "kept"),
    [("INVALID_LICENSE_NUMBER", "INVALID_LICENSE_NUMBER"), (SECRET, None), (7, None), ("A" * 51, None)],
)
def test_an_error_code_is_kept_if_it_looks_like_one(code: Any, kept: str | None) -> None:
    headers = JSON_HEADERS | {"retry-after": "2"}
    assert read(400, headers, orjson.dumps({"error_code": code})).event == Status(400, kept, "2")


def test_an_answer_that_is_no_json_is_kept_up_to_a_limit() -> None:
    reading = read(200, {"content-type": "text/html"}, b"<p>\x00\xff" + b"x" * 5000)
    assert reading.event is Trouble.UNREADABLE
    assert reading.kept is not None
    beginning = orjson.loads(reading.kept)["_raw"]
    assert beginning.startswith("<p>�xx")
    assert len(beginning) <= RAW_BYTES


def test_characters_that_cannot_be_stored_are_taken_out_and_reported() -> None:
    reading = read_json(changed("driver_data.address_info.current_address.city", "Aus\0tin"))
    assert reading.is_cleaned
    assert reading.kept is not None
    assert "\\u0000" not in reading.kept
    assert reading.event == Status(200)


PARTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(sorted({*GOOD, *GOOD["driver_data"], *GOOD["driver_data"]["personal_info"], "x"})),
            inner,
            max_size=8,
        )
    ),
    max_leaves=25,
)


@given(status=st.integers(100, 999), said=PARTS)
def test_any_json_is_read_or_refused(status: int, said: Any) -> None:
    reading = read(status, JSON_HEADERS, orjson.dumps(said, default=str) if _is_small(said) else b"1")
    assert (reading.answer is not None) is (isinstance(reading.event, Status) and 200 <= reading.event.code < 300)


def _is_small(value: Any) -> bool:
    if isinstance(value, int):
        return abs(value) < 2**63
    if isinstance(value, list | dict):
        return all(map(_is_small, value.values() if isinstance(value, dict) else value))
    return True


@given(status=st.integers(100, 999), headers=st.dictionaries(st.text(), st.text()), body=st.binary())
def test_any_bytes_are_read_or_refused(status: int, headers: dict[str, str], body: bytes) -> None:
    reading = read(status, headers, body)
    assert reading.kept is None or isinstance(orjson.loads(reading.kept), dict)
