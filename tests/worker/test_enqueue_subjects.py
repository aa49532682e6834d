"""What each of the provider's APIs can be asked about, and every other combination, refused by name."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from worker.crypto import Keyring
from worker.database import Database
from worker.dev.demo.households import add_drivers
from worker.dev.demo.sample import configure_sandbox
from worker.dev.sandbox.personas import BY_LICENSE
from worker.enqueue import enqueue_verification
from worker.errors import BadRequest
from worker.settings import Settings

DRIVERS, CRIMINAL, VEHICLES = "DCS_HOUSEHOLD_DRIVERS", "DCS_CRIMINAL", "DCS_HOUSEHOLD_VEHICLES"
Subjects = dict[str, int]

ADDED = {
    "vehicle": ("vehicle (vin, status_id, created_by)", "'1SANDBX0000000001'"),
    "plated": ("vehicle (plate, status_id, created_by)", "'SBX0001'"),
    "bare": ("vehicle (make, status_id, created_by)", "'X'"),
    "address": ("address (street_1, state, status_id, created_by)", "'1 Test Ln', 'TX'"),
    "nowhere": ("address (city, status_id, created_by)", "'Austin'"),
}


@pytest.fixture
def subjects(settings: Settings, db: Database) -> Subjects:
    """Ids to ask about: a driver, vehicles with a VIN, a plate and neither, addresses with a street and without."""
    keyring = Keyring.of(settings)
    add = """INSERT INTO {} SELECT {}, id, '00000000-0000-0000-0000-000000000001' FROM status
             WHERE code = 'ACTIVE' RETURNING id"""
    with db.transaction() as connection:
        for code in (DRIVERS, CRIMINAL, VEHICLES):
            configure_sandbox(connection, keyring, "http://127.0.0.1:9", code)
        (driver,) = add_drivers(connection, keyring, [BY_LICENSE["TX00000001"]])
        ids = {name: connection.scalars(text(add.format(*row))).one() for name, row in ADDED.items()}
    return {"driver": driver, **ids, "unknown": 999_999}


CASES: list[tuple[str, dict[str, str], str | None]] = [
    (DRIVERS, {"driver_id": "driver"}, None),
    (DRIVERS, {}, "no_driver"),
    (DRIVERS, {"vehicle_id": "vehicle"}, "no_driver"),
    (DRIVERS, {"driver_id": "driver", "vehicle_id": "vehicle"}, "wrong_subject"),
    (DRIVERS, {"driver_id": "driver", "address_id": "address"}, "wrong_subject"),
    (DRIVERS, {"driver_id": "driver", "search_by": "vin"}, "wrong_subject"),
    (CRIMINAL, {"driver_id": "driver"}, None),
    (CRIMINAL, {"driver_id": "unknown"}, "unknown_driver"),
    (CRIMINAL, {"address_id": "address"}, "no_driver"),
    (VEHICLES, {"vehicle_id": "vehicle"}, None),
    (VEHICLES, {"vehicle_id": "vehicle", "search_by": "vin"}, None),
    (VEHICLES, {"vehicle_id": "plated", "search_by": "plate"}, None),
    (VEHICLES, {"address_id": "address"}, None),
    (VEHICLES, {}, "no_vehicle"),
    (VEHICLES, {"search_by": "plate"}, "no_vehicle"),
    (VEHICLES, {"driver_id": "driver"}, "wrong_subject"),
    (VEHICLES, {"driver_id": "driver", "vehicle_id": "vehicle"}, "wrong_subject"),
    (VEHICLES, {"vehicle_id": "vehicle", "address_id": "address"}, "wrong_subject"),
    (VEHICLES, {"vehicle_id": "unknown"}, "unknown_vehicle"),
    (VEHICLES, {"address_id": "unknown"}, "unknown_address"),
    (VEHICLES, {"vehicle_id": "plated"}, "incomplete_vehicle"),
    (VEHICLES, {"vehicle_id": "vehicle", "search_by": "plate"}, "incomplete_vehicle"),
    (VEHICLES, {"vehicle_id": "bare"}, "incomplete_vehicle"),
    (VEHICLES, {"address_id": "nowhere"}, "incomplete_address"),
    (VEHICLES, {"address_id": "address", "search_by": "vin"}, "bad_search_by"),
    (VEHICLES, {"vehicle_id": "vehicle", "search_by": "name"}, "bad_search_by"),
]


def test_each_api_takes_its_own_subjects_and_no_others(db: Database, subjects: Subjects) -> None:
    with Session(db.engine) as session:
        for integration, given, code in CASES:
            named: dict[str, Any] = {name: subjects.get(value, value) for name, value in given.items()}
            if code is None:
                enqueue_verification(session, integration=integration, **named)
                continue
            with pytest.raises(BadRequest) as refusal:
                enqueue_verification(session, integration=integration, **named)
            assert refusal.value.code == code, (integration, given)
        session.commit()
    taken = len([case for case in CASES if case[2] is None])
    with db.transaction() as connection:
        counts = "SELECT (SELECT count(*) FROM job), (SELECT count(*) FROM integration_request)"
        assert tuple(connection.execute(text(counts)).one()) == (taken, taken)


def test_an_integration_that_names_no_api_is_refused(db: Database, subjects: Subjects) -> None:
    with db.transaction() as connection:
        connection.execute(text("UPDATE third_party_integration SET api = NULL"))
        with pytest.raises(BadRequest, match=f"ntegration {DRIVERS} names no API") as refusal:
            enqueue_verification(connection, integration=DRIVERS, driver_id=subjects["driver"])
    assert refusal.value.code == "unsupported_integration"


def test_a_key_given_for_one_vehicle_is_not_anothers(db: Database, subjects: Subjects) -> None:
    asked: dict[str, Any] = {"integration": VEHICLES, "idempotency_key": "k"}
    vehicle: dict[str, Any] = {"vehicle_id": subjects["vehicle"]}
    with db.transaction() as connection:
        first = enqueue_verification(connection, **vehicle, **asked)
        again = enqueue_verification(connection, **vehicle, search_by="vin", **asked)
        with pytest.raises(BadRequest) as refusal:
            enqueue_verification(connection, address_id=subjects["address"], **asked)
    assert (again.job_id, again.is_new) == (first.job_id, False)
    assert refusal.value.code == "idempotency_conflict"
