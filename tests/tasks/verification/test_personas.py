"""Every person the sandbox knows, through the database and over the line, ends as the contract says."""

from sqlalchemy import text

from tests.tasks.verification.factories import insert_configuration, row
from tests.tasks.verification.system import BY_SCENARIO, CRIMINAL, DRIVERS, VEHICLES, System, matches
from worker.dev.sandbox.personas import PERSONAS

OF_DRIVERS = [persona for persona in PERSONAS if persona.api == "drivers"]


def test_every_driver_ends_as_the_contract_says(system: System) -> None:
    with system.db.transaction() as connection:
        insert_configuration(connection, system.keyring, system.sandbox.url, timeout=1)
    households = {persona.scenario: system.driver(persona) for persona in OF_DRIVERS}
    jobs = {scenario: system.ask(household.driver_id, DRIVERS) for scenario, household in households.items()}

    system.run_to_the_end(*jobs.values())

    differing = {}
    with system.db.transaction() as connection:
        for persona in OF_DRIVERS:
            household, request_id = households[persona.scenario], jobs[persona.scenario].args["request_id"]
            request = row(connection, "integration_request", request_id)
            results: dict[str, str] = dict(
                connection.execute(
                    text(
                        """SELECT verification_type, verification_status FROM integration_verification_result
                           WHERE request_id = :id"""
                    ),
                    {"id": request_id},
                ).all()
            )
            expected = persona.expected
            seen = (
                request["request_status"],
                results.get("household"),
                results.get("license"),
                row(connection, "driver", household.driver_id)["external_verification_status"],
                row(connection, "license", household.license_id)["external_verification_status"],
            )
            result = expected.result_status or "error"
            wanted = (
                expected.request_status if expected.finishes else "pending",
                result if expected.finishes else None,
                result if expected.finishes else None,
                expected.driver_status or "not_verified",
                expected.license_status or "not_verified",
            )
            if seen != wanted:
                differing[persona.scenario] = (seen, wanted, request["error_message"])
    assert differing == {}


OF_CRIMINAL: dict[str, tuple[str, set[str]]] = {
    "criminal_clear": ("verified", set()),
    "criminal_felony": ("verified", {"records_found"}),
    "criminal_alias": ("partial", {"records_found", "found_by_alias"}),
    "criminal_two_profiles": ("partial", {"records_found", "several_profiles"}),
    "pending_twice": ("verified", set()),
}


def test_criminal_personas_end_as_the_contract_says_and_decide_nothing(system: System) -> None:
    for scenario, expected in OF_CRIMINAL.items():
        household = system.driver(BY_SCENARIO[scenario])
        before = [system.row("driver", household.driver_id), system.row("license", household.license_id)]
        request = system.verify(household.driver_id, CRIMINAL)
        assert request["request_status"] == "completed", scenario
        (result,) = system.results(request)
        assert (result["verification_type"], result["target_entity_id"]) == ("criminal", household.driver_id)
        assert (result["verification_status"], matches(result)) == expected, scenario
        after = [system.row("driver", household.driver_id), system.row("license", household.license_id)]
        assert after == before, "what a record means is for a person to say"


OF_VEHICLES: dict[str, set[str]] = {
    "vehicle_stolen": {"raised"},
    "vehicle_flood": {"raised"},
    "vehicle_ssn": {"restricted_release"},
}


def test_vehicle_personas_end_as_the_contract_says(system: System) -> None:
    for scenario, expected in OF_VEHICLES.items():
        persona = BY_SCENARIO[scenario]
        vehicle = system.vehicle(vin=persona.vin, make="Sandbox")
        request = system.verify(None, VEHICLES, vehicle_id=vehicle)
        assert request["request_status"] == "completed", scenario
        (result,) = system.results(request)
        assert (result["verification_type"], result["target_entity_type"]) == ("vehicle", "vehicle")
        assert (result["target_entity_id"], result["verification_status"]) == (vehicle, "verified")
        assert matches(result) == {*expected, "normalised"}, "Sandbox is SANDBOX to the provider"
        after = system.row("vehicle", vehicle)
        assert after["external_verification_status"] == "verified"
        assert after["title_flags"] == ([scenario.removeprefix("vehicle_")] if "raised" in expected else [])
        assert (after["make"], after["model"], after["model_year"]) == ("Sandbox", "ROADSTER", 2019)
        assert after["verification_source"] == VEHICLES


def test_the_contracts_criminal_personas_are_all_here() -> None:
    assert OF_CRIMINAL.keys() == {persona.scenario for persona in PERSONAS if persona.api == "criminal"}
    assert OF_VEHICLES.keys() == {persona.scenario for persona in PERSONAS if persona.api == "vehicles"}
