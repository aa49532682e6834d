"""Masking whole documents: nothing personal is left, the structure and the record stay, twice is as good as once."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.masking.exact_json import dump, parse
from tasks.masking.operators import REDACTED
from tasks.masking.rules import PERSON_CLASSES, Rule
from tests.tasks.masking.defaults import REVISION, masker
from tests.tasks.verification.factories import answer_about, make_question
from worker.dev.sandbox import criminal, vehicles
from worker.dev.sandbox.message import Call

PERSONAL = [key for (_, class_), keys in REVISION.KEYS.items() for key in keys if class_ in PERSON_CLASSES]
KNOWN = [*REVISION.CONTAINERS, *PERSONAL, *REVISION.KEPT, "date_of_birth", "zip_code", "vin", "owner.first_name"]

texts = st.one_of(
    st.text(max_size=20),
    st.from_regex(r"[A-Z]{2}\d{8}|\d{4}-\d{2}-\d{2}|\d{2}/\d{2}/\d{4}|\d{5}(-\d{4})?|10\.1\.\d{2}\.\d", fullmatch=True),
    st.sampled_from(["ann@example.org", "123-45-6789", "512-555-0100", REDACTED, "tok:v1:", "Bearer abcdefgh1"]),
)
scalars = st.one_of(st.none(), st.booleans(), st.integers(-(2**62), 2**62), st.floats(allow_nan=False, width=32), texts)
keys = st.one_of(st.sampled_from(KNOWN), st.text(max_size=6), st.just("[*]"))
documents = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=5)),
    max_leaves=30,
)


def paths(document: Any, path: str = "") -> dict[str, Any]:
    """Every value that is no object or list, by its place."""
    if isinstance(document, dict):
        return {p: v for key, inner in document.items() for p, v in paths(inner, f"{path}/{key}").items()}
    if isinstance(document, list):
        return {p: v for number, inner in enumerate(document) for p, v in paths(inner, f"{path}#{number}").items()}
    return {path: document}


@given(documents)
@settings(max_examples=100, deadline=None)
def test_masking_twice_changes_nothing_more(document: Any) -> None:
    once = masker().document(document)
    again = masker()
    assert again.document(once) == once
    assert not again.counts


def test_a_removed_object_that_holds_an_address_is_removed_the_first_time() -> None:
    once = masker().document({"ssn": {"": "ann@example.org"}})
    assert once == masker().document(once) == {"ssn": {"": None}}


@given(documents)
@settings(max_examples=100, deadline=None)
def test_the_structure_stays_and_types_stay_or_become_null(document: Any) -> None:
    before, after = paths(document), paths(masker().document(document))
    assert before.keys() == after.keys()
    assert all(after[path] is None or type(after[path]) is type(before[path]) for path in before)


@given(st.lists(st.sampled_from(KNOWN), min_size=1, max_size=4), st.sampled_from(PERSONAL), st.lists(documents))
@settings(max_examples=100, deadline=None)
def test_no_canary_is_left_wherever_it_stands(way: list[str], key: str, beside: list[Any]) -> None:
    document: Any = {key: "Canary-5551", "beside": beside, "unknown_tomorrow": "Canary-5552"}
    for step in way:
        document = {step: [document]}
    assert b"Canary" not in orjson.dumps(masker().document(document))


@given(st.dictionaries(st.sampled_from(REVISION.KEPT), scalars, min_size=1))
def test_what_is_kept_is_not_touched(record: dict[str, Any]) -> None:
    assert masker().document({**record, "first_name": "Ann"}) == {**record, "first_name": REDACTED}


@given(st.dictionaries(st.sampled_from(["limit", "deductible", "year_built", "annual_miles"]), scalars))
def test_numbers_of_a_document_about_nobody_are_not_touched(document: dict[str, Any]) -> None:
    numbers = {key: value for key, value in document.items() if not isinstance(value, str)}
    assert masker().document(numbers) == numbers


def test_an_answer_about_a_driver_keeps_what_explains_the_decision() -> None:
    masked = masker().document(answer_about(make_question(), new_field_of_the_provider={"nickname": "Vee"}))
    assert masked["verification_status"] == "verified"
    data = masked["driver_data"]
    assert data["personal_info"] == {"first_name": REDACTED, "last_name": REDACTED, "date_of_birth": "1980-01-01"}
    assert data["license_info"] | {"license_number": ""} == {
        "license_number": "", "state_code": "TX", "license_type": "DL", "status": "valid",
    }  # fmt: skip
    assert data["license_info"]["license_number"].startswith("tok:v1:")
    assert data["address_info"]["current_address"] == {
        "street_1": REDACTED,
        "city": "Austin",
        "state": "TX",
        "zip_code": "787**",
        "delivery_point_validation": "valid",
    }


def test_criminal_records_are_reduced_to_counts_by_degree() -> None:
    call = Call("t-1", 1, 0.0)
    person = {"first_name": "Fay", "last_name": "Felony", "date_of_birth": "1972-02-02"}
    masked = masker().document(criminal.content({"persons": [person]}, "criminal_felony", call))
    (history,) = masked["criminal_profiles"][0]["histories"]
    (offense,) = history["offenses"]
    assert offense.pop("degree") == "FELONY"
    assert set(offense.pop("sentence").values()) <= {REDACTED, None}
    assert set(offense.values()) <= {REDACTED, None}
    assert history["race"] is history["height"] is history["state_id"] is None
    assert b"Felony" not in orjson.dumps(masked)


def test_vehicles_keep_their_kind_and_lose_their_owner() -> None:
    call = Call("t-1", 1, 0.0)
    masked = masker().document(vehicles.content({"search": {"vins": ["1SANDBX0000000SSN"]}}, "vehicle_ssn", call))
    (vehicle,) = masked["vehicles"]
    assert vehicle["vehicle_data"]["vin"] == "1SANDBX0000******"
    assert vehicle["vehicle_data"]["make"] == "SANDBOX"
    assert vehicle["title_info"]["owner_id"] is None
    assert vehicle["title_info"]["flags"]["stolen"] is False
    assert b"OLIVE" not in orjson.dumps(masked)


@pytest.mark.parametrize("document", ["Jane Doe of 1 Main St", ["mail ann@example.org"], {"_raw": "<html>Jane"}])
def test_what_is_no_document_of_ours_is_masked_whole(document: Any) -> None:
    assert orjson.dumps(masker().document(document)).count(b"[REDACTED]") == 1


def test_equal_licences_stay_equal_and_apart_from_other_classes() -> None:
    one, other = (
        masker().document({"license_number": number})["license_number"] for number in ("TX 123-45", "tx12345")
    )
    assert one == other
    elsewhere = masker(Rule(1, "key", "license_number", "hmac", "vehicle_id")).document({"license_number": "TX12345"})
    assert elsewhere["license_number"] != one


def test_a_nearer_rule_counts_more() -> None:
    rules = [
        Rule(1, "value", "canary", "redact", "name"),
        Rule(2, "key", "note", "partial", "free_text", params={"min_hidden": 1, "keep_head": 1}),
        Rule(3, "glob", "**.inner.*", "remove", "free_text"),
        Rule(4, "path", "list[*].inner.note", "keep", "free_text"),
    ]
    document = {
        "note": "canary", "other": "a canary", "inner": {"note": "canary"}, "list": [{"inner": {"note": "canary"}}],
    }  # fmt: skip
    assert masker(*rules).document(document) == {
        "note": "c*****", "other": REDACTED, "inner": {"note": None}, "list": [{"inner": {"note": "canary"}}],
    }  # fmt: skip


def test_a_document_that_is_too_deep_is_cut_off_and_not_an_error() -> None:
    document: Any = {"first_name": "Canary"}
    for _ in range(900):
        document = {"a": [document]}
    assert b"Canary" not in orjson.dumps(masker().document(document))


def test_keys_that_are_data_do_not_fill_the_memory() -> None:
    masks = masker()
    for number in range(30_000):
        masks.document({f"key {number}": 1})
    assert masks._spots <= 20_001


@pytest.mark.parametrize("number", ["12345678901234567890123", "0.12345678901234567890", "1e400", "-0.10"])
def test_numbers_that_are_kept_are_kept_to_the_last_digit(number: str) -> None:
    said = f'{{"id": 1, "score": {number}, "note": "1234567890123456"}}'
    assert dump(masker().document(parse(said))) == said.replace(": ", ":").replace(", ", ",")
