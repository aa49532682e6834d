"""Field mappings over the line: what the provider says, through the whole job, into our columns."""

from models.users import SYSTEM_USER_ID
from tests.tasks.verification.system import BY_SCENARIO, DRIVERS, VEHICLES, System, matches
from worker.configuration.field_mapping import nodes, versions
from worker.configuration.integrations import scope_of
from worker.permissions import Actor

SYSTEM = Actor(SYSTEM_USER_ID)


def test_each_vehicle_found_is_a_document_of_its_own(system: System) -> None:
    make = "vehicles[].vehicle_data.make"
    with system.db.transaction() as connection:
        scope = scope_of(connection, VEHICLES)
        nodes.add_node(connection, SYSTEM, scope, make, "string")
        nodes.add_node(
            connection, SYSTEM, scope, "vehicles[].vehicle_data.odometer_reading", "integer", is_required=True
        )
        versions.add(connection, SYSTEM, scope, make, "vehicle.make", transformation={"lowercase": True})
    vehicle = system.vehicle(vin="1SANDBX0000000001")
    request = system.verify(None, VEHICLES, vehicle_id=vehicle)
    said = request["response_body"]["vehicles"][0]["vehicle_data"]["make"]
    assert system.row("vehicle", vehicle)["make"] == said.lower() != said


def test_a_mapping_sees_what_the_provider_said_and_tells_what_it_lacks(system: System) -> None:
    with system.db.transaction() as connection:
        scope = scope_of(connection, DRIVERS)
        for name in ("license_type", "expiration_date"):
            nodes.add_node(connection, SYSTEM, scope, f"driver_data.license_info.{name}", "string")
            versions.add(connection, SYSTEM, scope, f"driver_data.license_info.{name}", f"license.{name}")
    vera = system.driver(BY_SCENARIO["ok"])
    request = system.verify(vera.driver_id, DRIVERS)
    said = request["response_body"]["driver_data"]["license_info"]
    license_ = system.row("license", vera.license_id)
    assert license_["license_type"] == said["license_type"]
    assert license_["expiration_date"].isoformat() == said["expiration_date"]
    # The answer of this person has no address, which four required nodes belong to.
    partial = system.verify(system.driver(BY_SCENARIO["partial"]).driver_id, DRIVERS)
    (household, *_) = system.results(partial)
    assert "missing" in matches(household)
