"""Rows of a person: driver, licence and address, with the licence number encrypted, or a vehicle."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from worker.crypto import Keyring, Place
from worker.dev.sandbox.personas import PERSONAS, Persona

INTEGRATIONS = {"drivers": "DCS_HOUSEHOLD_DRIVERS", "criminal": "DCS_CRIMINAL", "vehicles": "DCS_HOUSEHOLD_VEHICLES"}
"""By the API that a persona is for."""

_IDS = text("SELECT nextval(pg_get_serial_sequence(:table, 'id')) FROM generate_series(1, :count)")

_ACTIVE = text("SELECT id FROM status WHERE code = 'ACTIVE'")
_SYSTEM_USER = UUID("00000000-0000-0000-0000-000000000001")  # loaded by the migrations, for what no person did

_ADDRESS = text("""
    INSERT INTO address (id, street_1, city, state, zip_code, status_id, created_by)
    VALUES (:address_id, :street_1, :city, :state, :zip_code, :status_id, :created_by)
""")
_DRIVER = text("""
    INSERT INTO driver (id, first_name, last_name, date_of_birth, address_id, is_named_insured, status_id, created_by)
    VALUES (:driver_id, :first_name, :last_name, :date_of_birth, :address_id, true, :status_id, :created_by)
""")
_LICENSE = text("""
    INSERT INTO license (id, driver_id, license_number, license_number_bidx, state_code, license_type,
                         status_id, created_by)
    VALUES (:license_id, :driver_id, :license_number, :license_number_bidx, :state_code, 'DL', :status_id, :created_by)
""")
_VEHICLE = text("INSERT INTO vehicle (id, vin, status_id, created_by) VALUES (:id, :vin, :status_id, :created_by)")
# Driver and licence point at each other, so one of the two keys is set afterwards.
_CURRENT_LICENSE = text("UPDATE driver SET license_id = :license_id WHERE id = :driver_id")


def audit(connection: Connection) -> dict[str, Any]:
    """Values for the audit columns of a new row."""
    return {"status_id": connection.scalars(_ACTIVE).one(), "created_by": _SYSTEM_USER}


def license_index(keyring: Keyring, persona: Persona) -> str:
    """The blind index of the person's licence number."""
    return keyring.blind_index(f"license|{persona.state_code}", license_number(persona))


def license_number(persona: Persona) -> str:
    """Criminal records are found by name: there any number will do that is nobody else's."""
    if persona.license_number is not None:
        return persona.license_number
    return f"TX5{PERSONAS.index(persona):07d}"


def add_drivers(connection: Connection, keyring: Keyring, personas: Sequence[Persona]) -> list[int]:
    """Insert a driver for each person, new ones for repeated persons; gives the drivers' ids in the same order."""
    count = len(personas)
    if not count:
        return []
    addresses, drivers, licenses = (
        list(connection.scalars(_IDS, {"table": table, "count": count})) for table in ("address", "driver", "license")
    )
    everywhere = audit(connection)
    rows = [
        {
            **everywhere,
            "address_id": address_id,
            "driver_id": driver_id,
            "license_id": license_id,
            "street_1": persona.address.street_1,
            "city": persona.address.city,
            "state": persona.address.state,
            "zip_code": persona.address.zip_code,
            "first_name": persona.first_name,
            "last_name": persona.last_name,
            "date_of_birth": date.fromisoformat(persona.date_of_birth),
            "state_code": persona.state_code,
            # Bound to the row it is written to, which is why the ids are fetched before.
            "license_number": keyring.encrypt(
                license_number(persona), Place("license", "license_number", str(license_id))
            ),
            "license_number_bidx": license_index(keyring, persona),
        }
        for persona, address_id, driver_id, license_id in zip(personas, addresses, drivers, licenses, strict=True)
    ]
    for statement in (_ADDRESS, _DRIVER, _LICENSE, _CURRENT_LICENSE):
        connection.execute(statement, rows)
    return drivers


def add_vehicles(connection: Connection, personas: Sequence[Persona]) -> list[int]:
    """Insert a vehicle for each person who is asked about by one; gives the ids in the same order."""
    if not personas:
        return []
    ids = list(connection.scalars(_IDS, {"table": "vehicle", "count": len(personas)}))
    everywhere = audit(connection)
    rows = [{**everywhere, "id": id_, "vin": persona.vin} for id_, persona in zip(ids, personas, strict=True)]
    connection.execute(_VEHICLE, rows)
    return ids


@dataclass(frozen=True, slots=True)
class Subject:
    """What a verification of a person is asked with."""

    integration: str
    driver_id: int | None = None
    vehicle_id: int | None = None


def add_people(connection: Connection, keyring: Keyring, personas: Sequence[Persona]) -> list[Subject]:
    """Insert what each person is asked about by; gives it in the same order."""
    owners = [persona for persona in personas if persona.api == "vehicles"]
    vehicles = iter(add_vehicles(connection, owners))
    drivers = iter(add_drivers(connection, keyring, [persona for persona in personas if persona.api != "vehicles"]))
    return [
        Subject(INTEGRATIONS[persona.api], vehicle_id=next(vehicles))
        if persona.api == "vehicles"
        else Subject(INTEGRATIONS[persona.api], driver_id=next(drivers))
        for persona in personas
    ]
