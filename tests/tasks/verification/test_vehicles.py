"""Vehicles over the line: by VIN, by plate and by address."""

import re

from tests.tasks.verification.factories import insert_quote
from tests.tasks.verification.system import BY_SCENARIO, VEHICLES, System, kept_anywhere
from worker.operating import providers


def test_of_an_owner_whose_release_is_restricted_nothing_is_kept(system: System) -> None:
    system.change("UPDATE integration_configuration SET keeps_owner_id = true")
    vehicle = system.vehicle(vin=BY_SCENARIO["vehicle_ssn"].vin)
    request = system.verify(None, VEHICLES, vehicle_id=vehicle)
    everything = kept_anywhere(system.db)
    assert "restricted_release" in everything
    for word in ("987654321", "4321", "OLIVE"):
        assert not re.search(rf"\b{word}\b", everything), word  # as a word: keys have digits too
    assert request["response_body"]["vehicles"][0]["title_info"]["owner_address"] is None


def test_a_vehicle_is_searched_by_its_plate_and_gets_its_vin(system: System) -> None:
    vehicle = system.vehicle(plate="SBX 0001")
    request = system.verify(None, VEHICLES, vehicle_id=vehicle, search_by="plate")
    assert request["request_body"]["search"] == {"tags": ["SBX 0001"]}
    assert [result["verification_status"] for result in system.results(request)] == ["verified"]
    assert system.row("vehicle", vehicle)["vin"] == "1SANDBX0000000001"


def test_the_vehicles_at_an_address_are_the_quotes_or_remarks_about_the_address(system: System) -> None:
    with system.db.transaction() as connection:
        quote = insert_quote(connection)
    household = system.driver(BY_SCENARIO["ok"])
    ours = system.vehicle(vin="1SANDBX0000000002", quote_id=quote)
    elsewhere = system.vehicle(vin="1SANDBX0000000009", quote_id=quote)
    request = system.verify(None, VEHICLES, address_id=household.address_id, quote_id=quote)
    assert request["request_body"]["search"].keys() == {"address"}
    found = {
        (result["target_entity_type"], result["target_entity_id"]): result["verification_status"]
        for result in system.results(request)
    }
    assert found == {
        ("address", household.address_id): "partial",
        ("vehicle", ours): "verified",
        ("vehicle", elsewhere): "not_found",
    }
    assert system.row("vehicle", elsewhere)["external_verification_status"] == "not_verified"
    assert len(system.rows("SELECT id FROM vehicle")) == 2, "no vehicle is created"


def test_what_the_provider_says_remains_is_known_to_whoever_watches(system: System) -> None:
    told = [remaining_after_asking_about(system, plate) for plate in ("SBX0001", "SBX0002", "SBX0003")]
    # The allowance begins anew with each minute of the clock: between two of the three at the most.
    assert told[1] < told[0] or told[2] < told[1], told


def remaining_after_asking_about(system: System, plate: str) -> int:
    system.verify(None, VEHICLES, vehicle_id=system.vehicle(plate=plate), search_by="plate")
    gates = providers.gates(system.redis_url)
    assert gates is not None
    (gate,) = gates.values()
    assert gate.remaining is not None
    return gate.remaining
