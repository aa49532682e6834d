"""Sample rows for trying the system: a program, a producer, the way to the sandbox, and people to ask about.

Every row has a key by which it is found again, so seeding twice changes nothing.
"""

import json
from dataclasses import dataclass

from sqlalchemy import Connection, text

from worker.crypto import Keyring, Place
from worker.dev.demo.households import INTEGRATIONS, add_drivers, add_vehicles, audit, license_index
from worker.dev.sandbox import criminal, drivers, vehicles
from worker.dev.sandbox.personas import PERSONAS
from worker.dev.sandbox.settings import CLIENT_ID, CLIENT_SECRET

INTEGRATION = "DCS_HOUSEHOLD_DRIVERS"
_PATHS = {INTEGRATION: drivers.PATH, "DCS_CRIMINAL": criminal.PATH, "DCS_HOUSEHOLD_VEHICLES": vehicles.PATH}
_SCOPE = "drivers criminal vehicles"

_PROGRAM = text("""
    INSERT INTO program (code, name, status_id, created_by)
    VALUES ('DEMO', 'Demonstration program', :status_id, :created_by)
    ON CONFLICT (code) DO NOTHING
""")
_PRODUCER = text("""
    INSERT INTO producer (producer_code, name, status_id, created_by)
    VALUES ('DEMO', 'Demonstration agency', :status_id, :created_by) ON CONFLICT (producer_code) DO NOTHING
""")
_CONFIGURATION = text("""
    SELECT c.id, c.endpoint_url, c.auth_config ->> 'token_url' AS token_url
    FROM integration_configuration c JOIN third_party_integration i ON i.id = c.integration_id
    WHERE i.code = :integration AND c.configuration_level = 'system' AND c.environment = 'sandbox'
""")
_NEW_CONFIGURATION_ID = text("SELECT nextval(pg_get_serial_sequence('integration_configuration', 'id'))")
_ADD_CONFIGURATION = text("""
    INSERT INTO integration_configuration (
        id, integration_id, configuration_level, environment, endpoint_url, auth_config, is_enabled,
        timeout_seconds, retry_attempts, status_id, created_by
    ) SELECT :id, i.id, 'system', 'sandbox', :endpoint_url, CAST(:auth_config AS jsonb), true,
             :timeout_seconds, :retry_attempts, :status_id, :created_by
    FROM third_party_integration i WHERE i.code = :integration
""")
_MOVE_CONFIGURATION = text("""
    UPDATE integration_configuration SET endpoint_url = :endpoint_url, auth_config = CAST(:auth_config AS jsonb),
           updated_by = :created_by
    WHERE id = :id
""")
_KNOWN_VINS = text("SELECT vin FROM vehicle WHERE vin = ANY(:vins)")
_KNOWN_LICENSES = text("SELECT license_number_bidx FROM license WHERE license_number_bidx = ANY(:indexes)")


@dataclass(frozen=True, slots=True)
class Seeded:
    """What was new: integrations that were pointed at the sandbox, and the ids of people and vehicles."""

    integrations: list[str]
    drivers: list[int]
    vehicles: list[int]


def configure_sandbox(
    connection: Connection,
    keyring: Keyring,
    sandbox_url: str,
    integration: str = INTEGRATION,
    *,
    timeout_s: int = 30,
    attempts: int = 3,
) -> bool:
    """Point the system-wide sandbox configuration of an integration at `sandbox_url`; False if it already was.

    Timeout and attempts count for a new configuration only: they may have been changed by hand since.
    """
    endpoint_url, token_url = f"{sandbox_url}{_PATHS[integration]}", f"{sandbox_url}/oauth2/token"
    found = connection.execute(_CONFIGURATION, {"integration": integration}).one_or_none()
    if found is not None and (found.endpoint_url, found.token_url) == (endpoint_url, token_url):
        return False
    row = found.id if found is not None else connection.scalars(_NEW_CONFIGURATION_ID).one()
    secret = keyring.encrypt(
        CLIENT_SECRET, Place("integration_configuration", "auth_config", str(row), "client_secret")
    )
    login = {
        "token_url": token_url,
        "client_id": CLIENT_ID,
        "client_secret": {"$enc": secret},
        "scope": _SCOPE,  # one login, so one account and its limits, for all three
    }
    connection.execute(
        _ADD_CONFIGURATION if found is None else _MOVE_CONFIGURATION,
        {
            **audit(connection),
            "id": row,
            "integration": integration,
            "endpoint_url": endpoint_url,
            "auth_config": json.dumps(login),
            "timeout_seconds": timeout_s,
            "retry_attempts": attempts,
        },
    )
    return True


def seed(connection: Connection, keyring: Keyring, sandbox_url: str) -> Seeded:
    """Add what is missing of the sample rows: a driver for each of the sandbox's people, and their vehicles."""
    connection.execute(_PROGRAM, audit(connection))
    connection.execute(_PRODUCER, audit(connection))
    url = sandbox_url.rstrip("/")
    moved = [code for code in INTEGRATIONS.values() if configure_sandbox(connection, keyring, url, code)]
    drivers = {license_index(keyring, persona): persona for persona in PERSONAS if persona.api != "vehicles"}
    known = set(connection.scalars(_KNOWN_LICENSES, {"indexes": list(drivers)}))
    missing = [persona for index, persona in drivers.items() if index not in known]
    vehicles = {persona.vin: persona for persona in PERSONAS if persona.api == "vehicles"}
    known_vins = set(connection.scalars(_KNOWN_VINS, {"vins": list(vehicles)}))
    parked = [persona for vin, persona in vehicles.items() if vin not in known_vins]
    return Seeded(moved, add_drivers(connection, keyring, missing), add_vehicles(connection, parked))
