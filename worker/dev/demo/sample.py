"""Sample rows for trying the system: a program, a producer, the way to the sandbox, and people to ask about.

Every row has a key by which it is found again, so seeding twice changes nothing.
"""

import json
from dataclasses import dataclass

from sqlalchemy import Connection, text

from worker.crypto import Keyring, Place
from worker.dev.demo.households import add_drivers, audit, license_index
from worker.dev.sandbox.personas import PERSONAS
from worker.dev.sandbox.settings import CLIENT_ID, CLIENT_SECRET

INTEGRATION = "DCS_HOUSEHOLD_DRIVERS"
_PATH = "/v2.7/household-drivers"

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
_KNOWN_LICENSES = text("SELECT license_number_bidx FROM license WHERE license_number_bidx = ANY(:indexes)")


@dataclass(frozen=True, slots=True)
class Seeded:
    """What was new. `drivers` are the ids of the people added."""

    configuration: bool
    drivers: list[int]


def configure_sandbox(
    connection: Connection, keyring: Keyring, sandbox_url: str, *, timeout_s: int = 30, attempts: int = 3
) -> bool:
    """Point the system-wide sandbox configuration of household drivers at `sandbox_url`; False if it already was.

    Timeout and attempts count for a new configuration only: they may have been changed by hand since.
    """
    endpoint_url, token_url = f"{sandbox_url}{_PATH}", f"{sandbox_url}/oauth2/token"
    found = connection.execute(_CONFIGURATION, {"integration": INTEGRATION}).one_or_none()
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
        "scope": "drivers",
    }
    connection.execute(
        _ADD_CONFIGURATION if found is None else _MOVE_CONFIGURATION,
        {
            **audit(connection),
            "id": row,
            "integration": INTEGRATION,
            "endpoint_url": endpoint_url,
            "auth_config": json.dumps(login),
            "timeout_seconds": timeout_s,
            "retry_attempts": attempts,
        },
    )
    return True


def seed(connection: Connection, keyring: Keyring, sandbox_url: str) -> Seeded:
    """Add what is missing of the sample rows, one driver for each of the sandbox's people."""
    connection.execute(_PROGRAM, audit(connection))
    connection.execute(_PRODUCER, audit(connection))
    configuration = configure_sandbox(connection, keyring, sandbox_url.rstrip("/"))
    people = {license_index(keyring, persona): persona for persona in PERSONAS if persona.api == "drivers"}
    known = set(connection.scalars(_KNOWN_LICENSES, {"indexes": list(people)}))
    missing = [persona for index, persona in people.items() if index not in known]
    return Seeded(configuration, add_drivers(connection, keyring, missing))
