"""What a vehicles answer means, and what of it is never kept."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.verification.question import PostalAddress
from tasks.verification.reading import Reading, Received, read
from tasks.verification.scrutiny import Scrutiny
from tasks.verification.vehicles.answer import FORM, Flags
from tasks.verification.vehicles.findings import VehicleChange, VehicleFindings, conclude, error_results
from tasks.verification.vehicles.question import OurVehicle, VehicleQuestion, vehicle_body
from tests.tasks.verification.factories import KEYRING, make_account
from worker.configuration.field_mapping.compiled import Row, compile_map
from worker.configuration.field_mapping.targets import Target

VIN = "1SANDBX0000000001"
OWNER = "987-65-4321"
OURS = OurVehicle(7, VIN, "SBX0001", 2019, "SANDBOX", None)
HOME = PostalAddress("1 Test Ln", None, "Austin", "TX", "78701")


def asking(search_by: Any = "vin", *vehicles: OurVehicle, keeps_owner_id: bool = False) -> VehicleQuestion:
    is_address = search_by == "address"
    return VehicleQuestion(
        request_id=7,
        account=make_account(api="vehicles", keeps_owner_id=keeps_owner_id),
        correlation_id="c",
        idempotency_key="k",
        retry_count=0,
        body_sent=None,
        time_left_s=None,
        search_by=search_by,
        vehicles=vehicles or (OURS,),
        address_id=44 if is_address else None,
        address=HOME if is_address else None,
    )


def vehicle(status: str = "FOUND", **changes: Any) -> dict[str, Any]:
    """`changes` are of the parts of a vehicle, each merged into its own."""
    said: dict[str, dict[str, Any]] = {
        "vehicle_data": {"vin": VIN, "model_year": 2019, "make": "SANDBOX", "model": "ROADSTER", "vin_error": 0},
        "title_info": {
            "owner_name_1": "OWNER, OLIVE",
            "owner_id": OWNER,
            "owner_address": {"street_1": "9 Elsewhere"},
            "previous_owner_name": "FORMER, FRED",
            "privacy_opt_out_code": 0,
            "flags": {},
        },
        "registration_info": {"tag": "SBX0001", "invalid": False},
    }
    return {"vehicle_search_status": status} | {part: value | changes.get(part, {}) for part, value in said.items()}


def arrived(question: VehicleQuestion, *vehicles: dict[str, Any]) -> Reading:
    return read(FORM, question, Received(200, {}, orjson.dumps({"vehicles": vehicles})))


def found(question: VehicleQuestion, *vehicles: dict[str, Any]) -> VehicleFindings:
    return conclude(question, arrived(question, *vehicles).answer, KEYRING, is_cleaned=False)


def statuses(findings: VehicleFindings) -> list[tuple[str, int, str]]:
    return [(result.target_type, result.target_id, result.status) for result in findings.results]


def matches(findings: VehicleFindings) -> set[str]:
    return {noted["match"] for result in findings.results for noted in result.discrepancies}


@pytest.mark.parametrize(
    ("search_by", "search"),
    [
        ("vin", {"vins": [VIN]}),
        ("plate", {"tags": ["SBX0001"]}),
        ("address", {"address": {"street_1": "1 Test Ln", "city": "Austin", "state": "TX", "zip_code": "78701"}}),
    ],
)
def test_exactly_one_thing_is_searched(search_by: str, search: dict[str, Any]) -> None:
    assert vehicle_body(asking(search_by))["search"] == search


@pytest.mark.parametrize(
    ("said", "status", "noted"),
    [
        (vehicle(), "verified", set()),
        (vehicle(vehicle_data={"model_year": 2018}), "partial", {"partial"}),
        (vehicle(vehicle_data={"make": "OTHER"}), "partial", {"mismatch"}),
        (vehicle(vehicle_data={"vin_error": 1}), "partial", {"vin_error"}),
        (vehicle(vehicle_data={"vin": "1SANDBX0000000002"}), "failed", {"other_vehicle"}),
        (vehicle("NOT_FOUND"), "not_found", {"NOT_FOUND"}),
        (vehicle(registration_info={"invalid": 1}), "verified", {"invalid"}),
        (vehicle(title_info={"privacy_opt_out_code": 3}), "verified", {"restricted_release"}),
    ],
)
def test_a_vehicle_is_compared_with_ours(said: dict[str, Any], status: str, noted: set[str]) -> None:
    findings = found(asking(), said)
    assert statuses(findings) == [("vehicle", 7, status)]
    assert matches(findings) == noted
    (change,) = findings.changes
    assert change.status == ("failed" if status == "not_found" else status)
    assert (findings.results[0].verified_data is None) is (status in ("failed", "not_found"))


@pytest.mark.parametrize(
    ("node", "ours", "theirs", "grade", "status"),
    [
        ("vehicle_data.vin", "1sandbx-0000000001", VIN, "normalised", "verified"),
        ("vehicle_data.vin", None, VIN, None, "verified"),
        ("vehicle_data.model_year", 2019, 2019, None, "verified"),
        ("vehicle_data.model_year", 2020, 2019, "partial", "partial"),
        ("vehicle_data.model_year", 2012, 2019, "mismatch", "partial"),
        ("vehicle_data.model_year", 2019, None, "missing", "verified"),
        ("vehicle_data.make", "Mercedes Benz", "MERCEDES-BENZ", "normalised", "verified"),
        ("vehicle_data.make", "Škoda", "SKODA", "normalised", "verified"),
        ("vehicle_data.make", "Chevrolet", "CHEV", "partial", "partial"),
        ("vehicle_data.make", "Ford", "TOYOTA", "mismatch", "partial"),
        ("vehicle_data.make", "Ford", None, "missing", "verified"),
        ("vehicle_data.model", "F-150", "F150", "normalised", "verified"),
        ("vehicle_data.model", "F-150", "F150 XL", "partial", "verified"),
        ("vehicle_data.model", "Roadster", "TRUCK", "mismatch", "verified"),
        ("vehicle_data.model", None, "TRUCK", None, "verified"),
        ("registration_info.tag", "SBX 0001", "SBX0001", "normalised", "verified"),
        ("registration_info.tag", "SBX0001", "NEW0001", "mismatch", "verified"),
        ("registration_info.tag", "SBX0001", None, None, "verified"),
    ],
)
def test_each_field_of_a_vehicle_has_a_grade(node: str, ours: Any, theirs: Any, grade: Any, status: str) -> None:
    part, name = node.split(".")
    known = replace(OURS, **{"plate" if name == "tag" else name: ours})
    said: dict[str, Any] = {part: {name: theirs}}
    (result,) = found(asking("vin", known), vehicle(**said)).results
    assert {noted["node_path"]: noted["match"] for noted in result.discrepancies} == (
        {f"vehicles[0].{node}": grade} if grade else {}
    )
    assert result.status == status


STRICT = Scrutiny(verified_confidence=Decimal(80), partial_confidence=Decimal(40))


@pytest.mark.parametrize(
    ("said", "score", "status"),
    [
        ({}, 100, "verified"),
        ({"model": "TRUCK"}, 75, "partial"),
        ({"model": "ROADSTER GT"}, Decimal("87.5"), "verified"),
        ({"model": "TRUCK", "make": "OTHER", "model_year": 1999}, 25, "failed"),
    ],
)
def test_thresholds_count_for_the_share_of_fields_that_fit(said: dict[str, Any], score: Any, status: str) -> None:
    question = replace(asking("vin", replace(OURS, model="ROADSTER")), scrutiny=STRICT)
    findings = found(question, vehicle(vehicle_data=said))
    (result,) = findings.results
    assert (result.confidence, result.status, findings.changes[0].status) == (score, status, status)
    assert ("below_threshold" in matches(findings)) is (status != "verified")


def test_no_threshold_decides_which_of_several_vehicles_it_is() -> None:
    question = replace(asking("plate", replace(OURS, vin=None, make="OTHER", model_year=1999)), scrutiny=STRICT)
    assert statuses(found(question, vehicle(), vehicle())) == [("vehicle", 7, "partial")] * 2


def test_a_mapping_says_nothing_of_a_node_that_has_a_grade() -> None:
    target = Target("vehicle", "make", "text", 50)
    make = Row(1, "vehicles[].vehicle_data.make", target, validation={"enum": ["OTHER"]})
    for ours, noted in (("Sandbox", "normalised"), ("SANDBOX", "enum")):
        known = replace(OURS, make=ours)
        question = replace(asking("vin", known), scrutiny=Scrutiny(fields=compile_map([make], root="vehicles[]")))
        reading = arrived(question, vehicle())
        findings = conclude(question, reading.answer, KEYRING, is_cleaned=False, document=reading.document)
        assert matches(findings) == {noted}


@pytest.mark.parametrize("flag", list(Flags.model_fields))
def test_each_flag_of_a_title_is_noted_and_kept_for_rating(flag: str) -> None:
    findings = found(asking(), vehicle(title_info={"flags": {flag: 1}}))
    assert [noted["node_path"] for noted in findings.results[0].discrepancies] == [
        f"vehicles[0].title_info.flags.{flag}"
    ]
    assert findings.changes[0].title_flags == (flag,)
    assert findings.results[0].status == "verified"


def test_a_plate_on_another_vehicle_is_no_match() -> None:
    assert statuses(found(asking("plate"), vehicle(registration_info={"tag": "OTHER"}))) == [("vehicle", 7, "failed")]
    no_vin = OurVehicle(7, None, "SBX0001", None, None, None)
    assert found(asking("plate", no_vin), vehicle()).changes == (
        VehicleChange(7, "verified", (), VIN, 2019, "SANDBOX", "ROADSTER"),
    )


def test_of_several_vehicles_with_one_plate_none_is_decided() -> None:
    no_vin = OurVehicle(7, None, "SBX0001", None, None, None)
    findings = found(asking("plate", no_vin), vehicle(), vehicle(vehicle_data={"vin": "1SANDBX0000000002"}))
    assert statuses(findings) == [("vehicle", 7, "partial")] * 2
    assert "several_vehicles" in matches(findings)
    assert findings.changes == (VehicleChange(7, "partial"),)


def test_nothing_found_fails_the_vehicle_that_was_asked_about() -> None:
    findings = found(asking())
    assert statuses(findings) == [("vehicle", 7, "not_found")]
    assert findings.changes == (VehicleChange(7, "failed"),)


def test_at_an_address_nothing_is_said_against_a_vehicle_that_is_elsewhere() -> None:
    findings = found(asking("address"), vehicle(vehicle_data={"vin": "1SANDBX0000000002"}))
    assert statuses(findings) == [("address", 44, "partial"), ("vehicle", 7, "not_found")]
    assert matches(findings) == {"unknown_vehicle"}
    assert findings.changes == ()
    assert statuses(conclude(asking("address"), FORM.nothing, KEYRING, is_cleaned=False))  # type: ignore[arg-type]  # its own


def kept(question: VehicleQuestion, said: dict[str, Any]) -> str:
    """Everything that is left of an answer, wherever it goes."""
    reading = arrived(question, said)
    findings = conclude(question, reading.answer, KEYRING, is_cleaned=False)
    data = [(result.verified_data, result.discrepancies) for result in findings.results]
    return f"{reading.kept}{reading.answer!r}{data}{findings.changes!r}"


@given(st.sampled_from([OWNER, "987654321", " 987 65 4321", "x987654321x"]), st.booleans(), st.sampled_from([0, 3]))
def test_an_owners_number_is_dropped_or_cut_to_its_end_and_never_whole(owner: str, keeps: bool, code: int) -> None:
    said = vehicle(title_info={"owner_id": owner, "privacy_opt_out_code": code})
    left = kept(asking(keeps_owner_id=keeps), said)
    assert owner not in left
    assert "98765" not in left
    assert ("***-**-4321" in left) is (keeps and code == 0)
    assert ("OLIVE" in left, "FORMER" in left, "Elsewhere" in left) == ((code == 0),) * 3


@pytest.mark.parametrize("keeps", [False, True])
def test_what_is_kept_can_be_read_again(keeps: bool) -> None:
    """Or an answer that is kept could not be put to a later question."""
    question = asking(keeps_owner_id=keeps)
    reading = arrived(question, vehicle(title_info={"title_date": "08/01/2019"}))
    assert reading.kept is not None
    again = read(FORM, question, Received(200, {}, reading.kept.encode()))
    assert (again.answer, again.kept) == (reading.answer, reading.kept)


@pytest.mark.parametrize("number", ["4321", "", None, 987654321, ["987654321"]])
def test_what_is_no_such_number_is_dropped_even_where_its_end_may_be_kept(number: Any) -> None:
    assert "4321" not in kept(asking(keeps_owner_id=True), vehicle(title_info={"owner_id": number}))


@pytest.mark.parametrize(("search_by", "row"), [("vin", ("vehicle", 7)), ("address", ("address", 44))])
def test_an_error_leaves_one_row_that_says_so(search_by: str, row: tuple[str, int]) -> None:
    (result,) = error_results(asking(search_by))
    assert (result.target_type, result.target_id, result.status) == (*row, "error")
