"""The invented people in the database: their rows, what is asked about them, and how they leave."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import orjson
from sqlalchemy import Connection, text

from worker.crypto import Keyring
from worker.dev.demo.households import INTEGRATIONS, add_people
from worker.dev.sandbox.personas import Persona
from worker.enqueue import enqueue_verification


@dataclass(frozen=True, slots=True)
class Guests:
    """Rows that are there for the check only. The drivers are on one quote, which tells of them too."""

    quote: UUID
    drivers: list[int]
    vehicles: list[int]
    jobs: list[UUID]


def bring_in(connection: Connection, keyring: Keyring, people: Sequence[Persona], integrations: set[str]) -> Guests:
    """Add them and ask about each, and about what is at the first one's address, where `integrations` let it."""
    subjects = add_people(connection, keyring, people)
    drivers = [subject.driver_id for subject in subjects if subject.driver_id is not None]
    vehicles = [subject.vehicle_id for subject in subjects if subject.vehicle_id is not None]
    quoted = [{"first_name": one.first_name, "last_name": one.last_name} for one in people if one.api == "drivers"]
    quote = connection.execute(_ADD_QUOTE, {"drivers": orjson.dumps(quoted).decode()}).scalar_one()
    connection.execute(_ON_QUOTE, {"quote": quote, "drivers": drivers})
    jobs = [
        enqueue_verification(
            connection,
            integration=subject.integration,
            driver_id=subject.driver_id,
            vehicle_id=subject.vehicle_id,
        ).job_id
        for subject in subjects
        if subject.integration in integrations
    ]
    if INTEGRATIONS["vehicles"] in integrations and drivers:
        address = connection.execute(_ADDRESS, {"driver": drivers[0]}).scalar_one()
        at_address = enqueue_verification(connection, integration=INTEGRATIONS["vehicles"], address_id=address)
        jobs.append(at_address.job_id)
    return Guests(quote, drivers, vehicles, jobs)


def callable_integrations(connection: Connection) -> set[str]:
    """Those that have a sandbox configuration of the system's, so that anybody may ask."""
    return set(connection.execute(_CALLABLE).scalars())


def put_away(connection: Connection, guests: Guests) -> None:
    """Their quote goes; the rest is marked as DELETED, so that retention takes it away."""
    values = {"quote": guests.quote, "drivers": guests.drivers, "vehicles": guests.vehicles}
    for statement in _PUT_AWAY:
        connection.execute(statement, values)


_CALLABLE = text(
    """
    SELECT DISTINCT integration.code FROM integration_configuration AS configuration
    JOIN third_party_integration AS integration ON integration.id = configuration.integration_id
    WHERE configuration_level = 'system' AND environment = 'sandbox' AND is_enabled AND integration.is_active
    """
)
_ADD_QUOTE = text(
    """
    INSERT INTO quotes (product_type, state, drivers) VALUES ('auto', 'TX', CAST(:drivers AS jsonb)) RETURNING id
    """
)
_ON_QUOTE = text("UPDATE driver SET quote_id = :quote WHERE id = ANY(:drivers)")
_ADDRESS = text("SELECT address_id FROM driver WHERE id = :driver")
_PUT_AWAY = tuple(
    text(statement)
    for statement in (
        "UPDATE driver SET quote_id = NULL, status_id = (SELECT id FROM status WHERE code = 'DELETED')"
        " WHERE id = ANY(:drivers)",
        "UPDATE license SET status_id = (SELECT id FROM status WHERE code = 'DELETED') WHERE driver_id = ANY(:drivers)",
        "UPDATE address SET status_id = (SELECT id FROM status WHERE code = 'DELETED')"
        " WHERE id IN (SELECT address_id FROM driver WHERE id = ANY(:drivers))",
        "UPDATE vehicle SET status_id = (SELECT id FROM status WHERE code = 'DELETED') WHERE id = ANY(:vehicles)",
        "DELETE FROM quotes WHERE id = :quote",
    )
)
