"""Questions, answers and rows for the tests of verifications. A test states only what it is about."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import orjson
from sqlalchemy import Connection, column, select, text
from sqlalchemy import table as table_clause

from models.users import SYSTEM_USER_ID
from tasks.verification.client import Call, Provider, open_provider
from tasks.verification.drivers.answer import FORM, Answer
from tasks.verification.drivers.question import DriverQuestion
from tasks.verification.gate import RULES, Rules
from tasks.verification.question import Account, PostalAddress, Subject
from tasks.verification.reading import read
from tasks.verification.strict_json import parse
from tasks.verification.tally import Tally, calls_left
from worker.crypto import Keyring, Place
from worker.dev.sandbox.personas import BY_LICENSE, Persona
from worker.dev.sandbox.settings import API_KEY, BASIC_LOGIN, CLIENT_ID, CLIENT_SECRET
from worker.job import Job, Surroundings
from worker.settings import Settings

PATH = "/v2.7/household-drivers"
PATHS = {
    "DCS_HOUSEHOLD_DRIVERS": PATH,
    "DCS_CRIMINAL": "/v1.0/criminal",
    "DCS_HOUSEHOLD_VEHICLES": "/v2.3/household-vehicles",
}
KEYRING = Keyring({"k1": bytes(range(32))}, bytes(32))
UNREACHABLE_REDIS = "redis://127.0.0.1:1/0"


def seal(secret: str, configuration_id: int, field: str, keyring: Keyring = KEYRING) -> dict[str, str]:
    place = Place("integration_configuration", "auth_config", str(configuration_id), field)
    return {"$enc": keyring.encrypt(secret, place)}


def auth_config(
    auth_type: str, url: str, configuration_id: int = 1, keyring: Keyring = KEYRING, **changes: Any
) -> dict[str, Any]:
    """Credentials that the sandbox accepts."""
    account, user, password = BASIC_LOGIN.split(":")
    config: dict[str, dict[str, Any]] = {
        "oauth2": {
            "token_url": f"{url}/oauth2/token",
            "client_id": CLIENT_ID,
            "client_secret": seal(CLIENT_SECRET, configuration_id, "client_secret", keyring),
            "scope": "drivers criminal vehicles",
        },
        "basic": {
            "account": account,
            "user": user,
            "password": seal(password, configuration_id, "password", keyring),
        },
        "bearer": {"token": seal("a-token", configuration_id, "token", keyring)},
        "api_key": {"key": seal(API_KEY, configuration_id, "key", keyring)},
    }
    return config[auth_type] | changes


def make_account(url: str = "http://127.0.0.1:1", auth_type: str = "oauth2", **changes: Any) -> Account:
    values: dict[str, Any] = {
        "configuration_id": 1,
        "integration_code": "DCS_HOUSEHOLD_DRIVERS",
        "api": "drivers",
        "environment": "sandbox",
        "is_required": False,
        "auth_type": auth_type,
        "auth_config": auth_config(auth_type, url),
        "url": f"{url}{PATH}",
        "timeout_s": 5,
        "retry_attempts": 3,
        "cache_ttl_hours": 24,
        "max_requests_per_second": None,
        "max_calls_in_flight": None,
        "keeps_owner_id": False,
        "integration_id": 1,
        "price": None,
    }
    return Account(**(values | changes))


def make_question(persona: Persona | None = None, account: Account | None = None, **changes: Any) -> DriverQuestion:
    persona = persona or BY_LICENSE["TX00000001"]
    assert persona.license_number is not None
    values: dict[str, Any] = {
        "request_id": 7,
        "driver_id": 42,
        "license_id": 43,
        "address_id": 44,
        "account": account or make_account(),
        "subject": Subject(persona.first_name, persona.last_name, date.fromisoformat(persona.date_of_birth)),
        "state_code": persona.state_code,
        "sealed_license_number": KEYRING.encrypt(
            persona.license_number, Place("license", "license_number", str(changes.get("license_id", 43)))
        ),
        "address": PostalAddress(
            persona.address.street_1, None, persona.address.city, persona.address.state, persona.address.zip_code
        ),
        "correlation_id": str(uuid4()),
        "idempotency_key": str(uuid4()),
        "retry_count": 0,
        "body_sent": None,
        "time_left_s": None,
        "household": "driver:42",
        "mates": (),
    }
    account = (values | changes)["account"]
    values["tally"] = Tally(calls_left(account.retry_attempts, changes.get("retry_count", 0)))
    return DriverQuestion(**(values | changes))


def answer_about(question: DriverQuestion, license_number: str = "TX00000001", **changes: Any) -> dict[str, Any]:
    """A good answer to a question; `changes` are of its top level."""
    subject, address = question.subject, question.address
    assert address is not None
    return {
        "transaction_id": "dcs_0123",
        "verification_status": "verified",
        "confidence_score": 95,
        "address_search_status": "FOUND",
        "driver_data": {
            "driver_id": "dcs_driver_001",
            "client_ref": f"driver:{question.driver_id}",
            "personal_info": {
                "first_name": subject.first_name,
                "last_name": subject.last_name,
                "date_of_birth": subject.date_of_birth.isoformat(),
            },
            "license_info": {
                "license_number": license_number,
                "state_code": question.state_code,
                "license_type": "DL",
                "status": "valid",
            },
            "address_info": {
                "current_address": {
                    "street_1": address.street_1,
                    "city": address.city,
                    "state": address.state,
                    "zip_code": address.zip_code,
                    "delivery_point_validation": "valid",
                }
            },
        },
        "household_members": [],
        "discrepancies": [],
    } | changes


def parsed(said: dict[str, Any]) -> Answer:
    return Answer.model_validate(parse(orjson.dumps(said)).value)


def a_call(url: str, body: bytes = b"{}", headers: dict[str, str] | None = None) -> Call:
    """A body to be sent, its answer read as one about drivers."""
    return Call(url, body, headers or {}, partial(read, FORM, make_question()))


@asynccontextmanager
async def provider(
    redis_url: str = UNREACHABLE_REDIS, keyring: Keyring = KEYRING, rules: Rules = RULES, **overrides: object
) -> AsyncIterator[Provider]:
    """What the engine would open. Without a Redis unless a test is about it."""
    settings = Settings.model_validate(
        {
            "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
            "REDIS_URL": redis_url,
            "ENCRYPTION_KEYS": "unused",
            "BLIND_INDEX_KEY": "unused",
            "allow_private_providers": True,
            **overrides,
        }
    )
    async with open_provider(Surroundings(settings, keyring), rules) as opened:
        yield opened


def make_job(request_id: int, time_left: timedelta | None = None) -> Job:
    return Job(uuid4(), "verification.verify", {"request_id": request_id}, 0, 100, 0, 1, None, False, False, time_left)


@dataclass(frozen=True)
class Household:
    """Ids of the rows that one driver needs."""

    driver_id: int
    license_id: int
    address_id: int


def insert_driver(connection: Connection, keyring: Keyring, persona: Persona) -> Household:
    """A driver with licence and address, as other parts of the platform would have written them."""
    next_id = text("SELECT nextval(pg_get_serial_sequence(:name, 'id'))")
    ids = {name: connection.execute(next_id, {"name": name}).scalar_one() for name in ("driver", "license", "address")}
    assert persona.license_number is not None
    sealed = keyring.encrypt(persona.license_number, Place("license", "license_number", str(ids["license"])))
    values = {**ids, "user": SYSTEM_USER_ID, "number": sealed, **vars_of(persona)}
    for statement in _INSERT_DRIVER:
        connection.execute(text(statement), values)
    return Household(ids["driver"], ids["license"], ids["address"])


def vars_of(persona: Persona) -> dict[str, Any]:
    return {
        "first_name": persona.first_name,
        "last_name": persona.last_name,
        "born": persona.date_of_birth,
        "street": persona.address.street_1,
        "city": persona.address.city,
        "state": persona.address.state,
        "zip": persona.address.zip_code,
    }


_INSERT_DRIVER = (
    """INSERT INTO address (id, street_1, city, state, zip_code, status_id, created_by)
        VALUES (:address, :street, :city, :state, :zip, (SELECT id FROM status WHERE code = 'ACTIVE'), :user)""",
    """INSERT INTO driver (id, first_name, last_name, date_of_birth, address_id, status_id, created_by)
        VALUES (:driver, :first_name, :last_name, CAST(:born AS date), :address,
                (SELECT id FROM status WHERE code = 'ACTIVE'), :user)""",
    """INSERT INTO license (id, driver_id, license_number, state_code, status_id, created_by)
        VALUES (:license, :driver, :number, 'TX', (SELECT id FROM status WHERE code = 'ACTIVE'), :user)""",
    "UPDATE driver SET license_id = :license WHERE id = :driver",
)


def insert_configuration(
    connection: Connection, keyring: Keyring, url: str, code: str = "DCS_HOUSEHOLD_DRIVERS", **changes: Any
) -> int:
    """A system configuration of the integration, which calls the sandbox at `url`."""
    row = connection.execute(
        text(
            """SELECT i.id, i.auth_type, nextval(pg_get_serial_sequence('integration_configuration', 'id'))
               FROM third_party_integration AS i WHERE code = :code"""
        ),
        {"code": code},
    ).one()
    connection.execute(text("DELETE FROM integration_configuration WHERE integration_id = :id"), {"id": row[0]})
    values = {
        "id": row[2],
        "integration": row[0],
        "endpoint": f"{url}{PATHS[code]}",
        "auth_config": orjson.dumps(auth_config(row[1], url, row[2], keyring)).decode(),
        "timeout": 5,
        "retries": 3,
        "ttl": 24,
        "enabled": True,
        "user": SYSTEM_USER_ID,
    } | changes
    connection.execute(
        text(
            """INSERT INTO integration_configuration (
                    id, integration_id, configuration_level, endpoint_url, auth_config, is_enabled, timeout_seconds,
                    retry_attempts, cache_ttl_hours, status_id, created_by
                ) VALUES (
                    :id, :integration, 'system', :endpoint, CAST(:auth_config AS jsonb), :enabled, :timeout,
                    :retries, :ttl, (SELECT id FROM status WHERE code = 'ACTIVE'), :user
                )"""
        ),
        values,
    )
    return int(row[2])


def insert_vehicle(connection: Connection, **columns: Any) -> int:
    """A vehicle with the columns that are given."""
    names, values = ", ".join(columns), ", ".join(f":{name}" for name in columns)
    statement = f"""INSERT INTO vehicle ({names}, status_id, created_by)
        SELECT {values}, id, :user FROM status WHERE code = 'ACTIVE' RETURNING id"""  # noqa: S608 - names of columns
    return int(connection.execute(text(statement), {**columns, "user": SYSTEM_USER_ID}).scalar_one())


def insert_quote(connection: Connection) -> UUID:
    """A quote for drivers and vehicles to be on."""
    return connection.execute(text(_INSERT_QUOTE)).scalar_one()  # type: ignore[no-any-return]  # a UUID


def enqueue(
    connection: Connection, driver_id: int | None = None, code: str = "DCS_HOUSEHOLD_DRIVERS", **more: Any
) -> int:
    """Ask for a verification; gives the id of its request."""
    named = "".join(f", p_{name} => :{name}" for name in more)
    statement = text(f"SELECT request_id FROM enqueue_verification(:code, :driver{named})")  # noqa: S608 - our names
    return int(connection.execute(statement, {"code": code, "driver": driver_id, **more}).scalar_one())


def row(connection: Connection, table: str, id_: int) -> dict[str, Any]:
    statement = select(text("*")).select_from(table_clause(table)).where(column("id") == id_)
    return dict(connection.execute(statement).mappings().one())


_INSERT_QUOTE = "INSERT INTO quotes (product_type, state) VALUES ('auto', 'TX') RETURNING id"
