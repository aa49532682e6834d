"""What the sandbox knows about its people, asked over HTTP."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx2
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.dev.sandbox.app import create_app
from worker.dev.sandbox.message import Request
from worker.dev.sandbox.personas import PERSONAS, Expected, Persona
from worker.dev.sandbox.scenarios import GARBLED, REFUSALS
from worker.dev.sandbox.server import SandboxServer
from worker.dev.sandbox.settings import API_KEY, SandboxSettings
from worker.dev.sandbox.wire import WIRE

DRIVERS, CRIMINAL, VEHICLES = "/v2.7/household-drivers", "/v1.0/criminal", "/v2.3/household-vehicles"
BY_SCENARIO = {persona.scenario: persona for persona in PERSONAS}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer() as server:
        yield server


@pytest.fixture(scope="module")
def client(sandbox: SandboxServer) -> Iterator[httpx2.Client]:
    auth = httpx2.BasicAuth("sandbox", "svc:sandbox-password")
    with httpx2.Client(base_url=sandbox.url, auth=auth, trust_env=False) as client:
        yield client


def search(persona: Persona, **driver: object) -> dict[str, Any]:
    address = persona.address
    return {
        "search": {
            "driver": {
                "client_ref": "driver:42",
                "first_name": persona.first_name,
                "last_name": persona.last_name,
                "date_of_birth": persona.date_of_birth,
                "license_number": persona.license_number,
                "state_code": persona.state_code,
            }
            | driver,
            "address": {"street_1": address.street_1, "city": address.city, "state": "TX", "zip_code": "78701"},
        },
        "options": {"include_household": True},
    }


def person(last_name: str, **more: object) -> dict[str, Any]:
    return {"client_ref": "p:1", "first_name": "Al", "last_name": last_name, "date_of_birth": "1981-01-01"} | more


def test_a_number_outside_the_table_is_verified_and_echoed(client: httpx2.Client) -> None:
    asked = search(BY_SCENARIO["ok"], license_number="TX77000001", first_name="Ann", last_name="Any")
    answer = client.post(DRIVERS, json=asked).json()
    assert (answer["verification_status"], answer["confidence_score"]) == ("verified", 95)
    data = answer["driver_data"]
    assert data["client_ref"] == "driver:42"
    assert data["personal_info"]["first_name"] == "Ann"
    assert data["personal_info"]["last_name"] == "Any"
    assert data["personal_info"]["date_of_birth"] == asked["search"]["driver"]["date_of_birth"]
    assert data["license_info"]["license_number"] == "TX77000001"
    assert data["license_info"]["status"] == "valid"
    current = data["address_info"]["current_address"]
    assert {name: current[name] for name in asked["search"]["address"]} == asked["search"]["address"]


def outcome(answer: dict[str, Any], persona: Persona) -> Expected:
    """The contract's mapping table, read from the answer by somebody else than the sandbox."""
    if answer["verification_status"] == "not_found":
        return Expected("done", "completed", "not_found", "failed", "not_verified")
    data = answer["driver_data"]
    names = (data["personal_info"]["first_name"], data["personal_info"]["last_name"])
    if names != (persona.first_name, persona.last_name):
        return Expected("done", "completed", "failed", "failed", "invalid")
    if answer["verification_status"] == "partial":
        return Expected("done", "completed", "partial", "partial", "not_verified")
    statuses = {"valid": "verified", "expired": "expired", "suspended": "suspended", "revoked": "invalid"}
    status: Any = statuses[data["license_info"]["status"]]
    return Expected("done", "completed", "verified", "verified", status)


PLAIN = [
    persona
    for persona in PERSONAS
    if persona.api == "drivers" and persona.scenario not in {**REFUSALS, **GARBLED, **WIRE}
]


@pytest.mark.parametrize("persona", PLAIN, ids=lambda persona: persona.scenario)
def test_the_answer_about_a_persona_leads_to_its_expected_outcome(
    client: httpx2.Client, sandbox: SandboxServer, persona: Persona
) -> None:
    response = client.post(DRIVERS, json=search(persona))
    assert response.status_code == 200
    assert outcome(response.json(), persona) == persona.expected
    assert sandbox.journal()[-1]["scenario"] == persona.scenario


def test_every_scenario_of_the_drivers_api_has_a_licence_number_of_its_own() -> None:
    numbers = [persona.license_number for persona in PERSONAS if persona.api == "drivers"]
    assert len(set(numbers)) == len(numbers)
    assert {**REFUSALS, **GARBLED, **WIRE}.keys() <= {persona.scenario for persona in PERSONAS}


def test_the_household_has_four_more_people_two_without_licence_one_a_teenager(client: httpx2.Client) -> None:
    answer = client.post(DRIVERS, json=search(BY_SCENARIO["household"])).json()
    members = [member["driver_data"] for member in answer["household_members"]]
    assert (len(members), answer["drivers_found"]) == (4, 5)
    assert [member["license_info"]["license_number"] for member in members].count(None) == 2
    years = [int(member["personal_info"]["date_of_birth"][:4]) for member in members]
    assert sum(13 <= datetime.now(UTC).year - year <= 19 for year in years) == 1


def test_the_household_is_left_out_when_not_asked_for(client: httpx2.Client) -> None:
    asked = search(BY_SCENARIO["household"]) | {"options": {"include_household": False}}
    assert client.post(DRIVERS, json=asked).json()["household_members"] == []


def test_an_answer_never_holds_more_than_a_hundred_records(client: httpx2.Client) -> None:
    answer = client.post(DRIVERS, json=search(BY_SCENARIO["truncated"])).json()
    assert (answer["drivers_found"], answer["records_returned"], answer["truncated"]) == (137, 100, True)
    assert len(answer["household_members"]) == 99


@pytest.mark.parametrize("status", ["ANNF", "ANNS", "HNNF", "SNNF"])
def test_each_address_status_has_its_persona(client: httpx2.Client, status: str) -> None:
    answer = client.post(DRIVERS, json=search(BY_SCENARIO[f"address_{status.lower()}"])).json()
    assert answer["address_search_status"] == status


def test_an_id_card_says_so_twice(client: httpx2.Client) -> None:
    license_info = client.post(DRIVERS, json=search(BY_SCENARIO["id_card"])).json()["driver_data"]["license_info"]
    assert (license_info["license_type"], license_info["id_card"]) == ("ID", True)


def test_a_partial_answer_has_a_low_score_two_discrepancies_and_no_address(client: httpx2.Client) -> None:
    answer = client.post(DRIVERS, json=search(BY_SCENARIO["partial"])).json()
    assert answer["confidence_score"] == 61
    assert len(answer["discrepancies"]) == 2
    assert answer["driver_data"]["address_info"]["current_address"] is None


def test_the_wrong_person_comes_back_verified_under_another_name_and_date(client: httpx2.Client) -> None:
    persona = BY_SCENARIO["wrong_person"]
    answer = client.post(DRIVERS, json=search(persona)).json()
    found = answer["driver_data"]["personal_info"]
    assert answer["verification_status"] == "verified"
    assert found["last_name"] != persona.last_name
    assert found["date_of_birth"] != persona.date_of_birth


def test_quirks_have_two_date_formats_number_flags_and_misspelt_keys(client: httpx2.Client) -> None:
    data = client.post(DRIVERS, json=search(BY_SCENARIO["quirks"])).json()["driver_data"]
    assert data["personal_info"]["date_of_birth"] == "05/15/1980"
    assert data["license_info"]["issue_date"] == "00000000"
    assert data["license_info"]["id_card"] == 0
    assert "last_transacton_date" in data["license_info"]


INSUFFICIENT, INVALID = "INSUFFICIENT_DATA", "INVALID_REQUEST"
OK = BY_SCENARIO["ok"]


@pytest.mark.parametrize(
    ("path", "payload", "status", "code", "field"),
    [
        (DRIVERS, {}, 400, INSUFFICIENT, "search.driver"),
        (DRIVERS, search(OK, last_name=" "), 400, INSUFFICIENT, "search.driver.last_name"),
        (DRIVERS, search(OK, license_number="?"), 400, "INVALID_LICENSE_NUMBER", "search.driver.license_number"),
        (DRIVERS, search(OK, state_code="XX"), 400, "STATE_NOT_SUPPORTED", "search.driver.state_code"),
        (DRIVERS, search(OK, date_of_birth="5/1/80"), 403, "MALFORMED_DATA", "search.driver.date_of_birth"),
        (DRIVERS, search(OK, date_of_birth="19800101"), 403, "MALFORMED_DATA", "search.driver.date_of_birth"),
        (DRIVERS, [], 400, INVALID, "body"),
        (CRIMINAL, {"persons": []}, 400, INSUFFICIENT, "persons"),
        (CRIMINAL, {"persons": [person("Clear")] * 101}, 422, INVALID, "persons"),
        (VEHICLES, {"search": {"vins": ["1SANDBX0000000001"], "tags": ["A"]}}, 422, INVALID, "search"),
        (VEHICLES, {"search": {}}, 422, INVALID, "search"),
        (VEHICLES, {"search": {"vins": ["short"]}}, 403, "MALFORMED_DATA", "search.vins"),
        (VEHICLES, {"search": {"address": {"street_1": "1 A St", "state": "ZZ"}}}, 400, "STATE_NOT_SUPPORTED",
         "search.address.state"),
        ("/v9/nothing", {}, 404, INVALID, "path"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_the_field_named(
    client: httpx2.Client, path: str, payload: object, status: int, code: str, field: str
) -> None:
    response = client.post(path, json=payload)
    error = response.json()
    assert (response.status_code, error["error_code"], error["details"]["field"]) == (status, code, field)
    assert error["status"] == "error"
    assert error["transaction_id"] == response.headers["X-Transaction-Id"]


APP = create_app(SandboxSettings())
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "A", "TX", "TX00000001", "1980-05-15"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["street_1", "state", "last_name", "license_number"]), inner)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("state", [["CA"], {"code": "CA"}, None])
def test_a_state_that_is_no_text_is_refused_like_an_unknown_one(client: httpx2.Client, state: object) -> None:
    answer = client.post(DRIVERS, json=search(OK, state_code=state))
    assert (answer.status_code, answer.json()["error_code"]) == (400, "STATE_NOT_SUPPORTED")


@given(
    path=st.sampled_from([DRIVERS, CRIMINAL, VEHICLES]),
    outer=st.sampled_from(["search", "persons", "options"]),
    inner=st.sampled_from(["driver", "address", "vins", "tags", None]),
    value=JSON_VALUES,
)
def test_any_json_gets_an_answer(path: str, outer: str, inner: str | None, value: object) -> None:
    payload: dict[str, Any] = search(OK) | {"persons": [person("Clear")]}
    if inner and outer == "search":
        payload["search"] = payload["search"] | {inner: value}
    else:
        payload[outer] = value
    headers = {"x-api-key": API_KEY, "content-type": "application/json"}
    exchange = APP.receive(Request("POST", path, headers, orjson.dumps(payload)))
    assert exchange.reply.status in (200, 400, 403, 422)


def test_another_content_type_broken_json_size_and_method_are_refused(client: httpx2.Client) -> None:
    json_type = {"Content-Type": "application/json"}
    assert client.post(DRIVERS, content=b"<xml/>", headers={"Content-Type": "text/xml"}).status_code == 415
    assert client.post(DRIVERS, content=b"{", headers=json_type).status_code == 400
    assert client.post(DRIVERS, content=b" " * 2_000_000, headers=json_type).status_code == 413
    assert client.get(DRIVERS).status_code == 405


def test_the_scenario_header_overrules_the_licence_number_and_must_exist(client: httpx2.Client) -> None:
    def with_scenario(name: str) -> httpx2.Response:
        return client.post(DRIVERS, json=search(OK), headers={"X-Sandbox-Scenario": name})

    assert with_scenario("suspended").json()["driver_data"]["license_info"]["status"] == "suspended"
    assert with_scenario("418").status_code == 418
    unknown = with_scenario("criminal_felony")
    assert (unknown.status_code, unknown.json()["details"]["field"]) == (400, "X-Sandbox-Scenario")


def test_common_headers_echo_the_correlation_id_and_count_down_the_allowance(client: httpx2.Client) -> None:
    answers = [client.post(DRIVERS, json=search(OK), headers={"X-Correlation-Id": "c-1"}) for _ in range(2)]
    first, second = (answer.headers for answer in answers)
    assert first["X-Correlation-Id"] == "c-1"
    assert first["X-Transaction-Id"] != second["X-Transaction-Id"]
    assert first["X-Transaction-Id"] == answers[0].json()["transaction_id"]
    assert int(first["RateLimit-Remaining"]) < int(first["RateLimit-Limit"])
    assert 0 < int(first["RateLimit-Reset"]) <= 60


def criminal(client: httpx2.Client, *persons: dict[str, Any], aliases: bool = True) -> list[dict[str, Any]]:
    response = client.post(CRIMINAL, json={"persons": persons, "options": {"search_aliases": aliases}})
    assert response.status_code == 200
    profiles: list[dict[str, Any]] = response.json()["criminal_profiles"]
    return profiles


def test_criminal_records_are_found_by_last_name(client: httpx2.Client) -> None:
    clear, felony = criminal(client, person("Clear"), person("Felony"))
    assert (clear["criminal_status"], clear["histories"]) == ("clear", [])
    assert felony["criminal_status"] == "records_found"
    history = felony["histories"][0]
    assert history["total_offenses"] == len(history["offenses"]) == 1
    assert {"race", "height", "weight"} <= history.keys()


def test_aliases_are_searched_only_when_asked(client: httpx2.Client) -> None:
    (found,) = criminal(client, person("As"))
    assert found["histories"][0]["search_source"] == "A"
    assert found["histories"][0]["alias_names"]
    (not_found,) = criminal(client, person("As"), aliases=False)
    assert not_found["criminal_status"] == "clear"


def test_twins_give_two_profiles_for_one_person_asked_about(client: httpx2.Client) -> None:
    assert [profile["client_ref"] for profile in criminal(client, person("Twins"))] == ["p:1", "p:1"]


def test_a_pending_search_answers_202_202_200(client: httpx2.Client) -> None:
    asked = client.post(CRIMINAL, json={"persons": [person("Pending")]})
    search_id = asked.json()["transaction_id"]
    assert (asked.status_code, asked.json()["status"]) == (202, "pending")
    assert asked.headers["Location"] == f"/v1.0/criminal/{search_id}"
    assert int(asked.headers["Retry-After"]) >= 1
    looks = [client.get(asked.headers["Location"]) for _ in range(3)]
    assert [look.status_code for look in looks] == [202, 200, 200]
    assert looks[1].json()["transaction_id"] == search_id
    assert looks[1].json()["criminal_profiles"][0]["criminal_status"] == "clear"
    assert client.get(f"{CRIMINAL}/dcs_unknown").status_code == 404


def vehicles(client: httpx2.Client, **search: object) -> list[dict[str, Any]]:
    response = client.post(VEHICLES, json={"search": search})
    assert response.status_code == 200
    found: list[dict[str, Any]] = response.json()["vehicles"]
    return found


@pytest.mark.parametrize("flag", ["stolen", "flood"])
def test_a_flagged_vehicle_is_found_by_vin_and_by_street(client: httpx2.Client, flag: str) -> None:
    persona = BY_SCENARIO[f"vehicle_{flag}"]
    address = {"street_1": persona.address.street_1, "state": "TX"}
    for vehicle in (*vehicles(client, vins=[persona.vin]), *vehicles(client, address=address)):
        flags = vehicle["title_info"]["flags"]
        assert [name for name, is_set in flags.items() if is_set] == [flag]


def test_of_several_vins_each_is_its_own_vehicle(client: httpx2.Client) -> None:
    stolen = BY_SCENARIO["vehicle_stolen"].vin
    found = vehicles(client, vins=["1SANDBX0000000077", stolen])
    assert [vehicle["vehicle_data"]["vin"] for vehicle in found] == ["1SANDBX0000000077", stolen]
    assert [vehicle["title_info"]["flags"]["stolen"] for vehicle in found] == [False, True]


def test_an_owner_id_may_be_a_nine_digit_number_with_restricted_release(client: httpx2.Client) -> None:
    (found,) = vehicles(client, vins=[BY_SCENARIO["vehicle_ssn"].vin])
    title = found["title_info"]
    assert len(title["owner_id"]) == 9
    assert title["owner_id"].isdigit()
    assert title["privacy_opt_out_code"] == 3


def test_vehicles_are_found_by_tag(client: httpx2.Client) -> None:
    found = vehicles(client, tags=["ABC123"])
    assert [vehicle["registration_info"]["tag"] for vehicle in found] == ["ABC123"]
