"""Switching and configuring integrations: who may, what it does, and what it leaves in the trail."""

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, text

from models.integration import IntegrationConfiguration
from models.users import SYSTEM_USER_ID
from tests.worker.integration_rows import add_producer, add_program, add_user, grant, integration
from worker.configuration import configurations
from worker.crypto import Keyring, Place
from worker.database import Database
from worker.errors import BadRequest
from worker.permissions import Actor, Right, Scope

SYSTEM = Actor(SYSTEM_USER_ID)
KEYRING = Keyring({"k1": bytes(range(32))}, bytes(32))
RIGHTS: tuple[Right, ...] = ("configure", "view_raw_responses", "manage_mappings", "enable_disable", "force_calls")
PLAIN = {"token_url": "https://dcs.example/oauth2/token", "client_id": "worker"}


def refusal(deed: Callable[[], object]) -> str | None:
    """The code with which a deed is refused; None where it is done."""
    try:
        deed()
    except BadRequest as refused:
        return refused.code
    return None


def added(connection: Connection, scope: Scope | None = None, environment: Any = "sandbox") -> int:
    scope = scope or Scope(integration(connection))
    return configurations.add(connection, SYSTEM, scope, environment, "/v2.7/household-drivers")


def credentials(connection: Connection, configuration_id: int, **secrets: str) -> None:
    configurations.set_credentials(
        connection, SYSTEM, KEYRING, configuration_id, PLAIN, secrets or {"client_secret": "hush"}
    )


def row(connection: Connection, configuration_id: int) -> Any:
    query = text("SELECT * FROM integration_configuration WHERE id = :id")
    return connection.execute(query, {"id": configuration_id}).one()


def test_every_right_in_every_scope(db: Database) -> None:
    """Only the deed's own right counts, and only in a scope that covers the configuration."""
    with db.transaction() as connection:
        one = integration(connection)
        program, producer, other = (
            add_program(connection, "P1"),
            add_producer(connection, "R1"),
            add_producer(connection, "R2"),
        )
        places: list[tuple[int | None, int | None]] = [
            (None, None),
            (program, None),
            (None, producer),
            (program, producer),
        ]
        ids = {place: added(connection, Scope(one, *place)) for place in places}
        for configuration_id in ids.values():
            credentials(connection, configuration_id)
        covered: dict[tuple[int | None, int | None], list[tuple[int | None, int | None]]] = {
            (None, None): places,
            (program, None): [(program, None), (program, producer)],
            (None, producer): [(None, producer), (program, producer)],
            (program, producer): [(program, producer)],
            (None, other): [],
        }
        for right in RIGHTS:
            for (granted_program, granted_producer), may in covered.items():
                user_id = add_user(connection)
                grant(connection, user_id, right, program=granted_program, producer=granted_producer)
                user = Actor(user_id)
                for place, configuration_id in ids.items():
                    changes = {"timeout_seconds": 20}
                    deeds: list[tuple[Right, Callable[[], object]]] = [
                        ("enable_disable", partial(configurations.enable, connection, user, configuration_id)),
                        ("enable_disable", partial(configurations.disable, connection, user, configuration_id)),
                        ("configure", partial(configurations.configure, connection, user, configuration_id, changes)),
                        (
                            "configure",
                            partial(
                                configurations.set_credentials, connection, user, KEYRING, configuration_id, PLAIN,
                                {"client_secret": "hush"},
                            ),
                        ),
                        (
                            "configure",
                            partial(configurations.add, connection, user, Scope(one, *place), "production", "/x"),
                        ),
                    ]  # fmt: skip
                    if place == (None, None):
                        switch = partial(configurations.switch_integration, connection, user, one, is_active=True)
                        deeds.append(("enable_disable", switch))
                    for needed, deed in deeds:
                        with connection.begin_nested() as tried:
                            refused = refusal(deed)
                            tried.rollback()
                        expected = None if needed == right and place in may else "forbidden"
                        assert refused == expected, (right, granted_program, granted_producer, place, deed)


def test_what_was_done_stands_in_the_trail_by_name_and_without_values(db: Database) -> None:
    with db.transaction() as connection:
        configuration_id = added(connection)
        credentials(connection, configuration_id)
        changes = {"endpoint_url": "/secret-path", "max_requests_per_second": Decimal("2.5"), "match_nicknames": True}
        configurations.configure(connection, SYSTEM, configuration_id, changes, by="ann")
        configurations.enable(connection, SYSTEM, configuration_id)
        configurations.disable(connection, SYSTEM, configuration_id)
        configurations.switch_integration(connection, SYSTEM, integration(connection), is_active=False)
        trail = connection.execute(
            text(
                "SELECT action, resource_type, resource_id, user_id, details FROM audit_logs"
                " WHERE action NOT LIKE 'configuration.%' ORDER BY created_at, id"
            )
        ).all()
        stored = row(connection, configuration_id)
    assert {entry.action for entry in trail} == {
        "integration.configuration_added",
        "integration.credentials_set",
        "integration.configured",
        "integration.configuration_enabled",
        "integration.configuration_disabled",
        "integration.switched_off",
    }
    (configured,) = [entry for entry in trail if entry.action == "integration.configured"]
    assert (configured.resource_id, configured.user_id) == (str(configuration_id), SYSTEM_USER_ID)
    assert configured.details == {
        "by": "ann", "changed": ["endpoint_url", "match_nicknames", "max_requests_per_second"],
    }  # fmt: skip
    assert "hush" not in str(trail)
    assert "secret-path" not in str(trail)
    assert (stored.is_enabled, stored.endpoint_url, stored.max_requests_per_second) == (
        False, "/secret-path", Decimal("2.5"),
    )  # fmt: skip


def test_credentials_are_stored_encrypted_and_checked(db: Database) -> None:
    with db.transaction() as connection:
        configuration_id = added(connection)
        assert refusal(lambda: configurations.enable(connection, SYSTEM, configuration_id)) == "configuration_error"
        with pytest.raises(BadRequest, match="auth_config lacks client_secret"):
            credentials(connection, configuration_id, password="wrong-kind")
        credentials(connection, configuration_id)
        stored = row(connection, configuration_id).auth_config
    assert "hush" not in str(stored)
    place = Place("integration_configuration", "auth_config", str(configuration_id), "client_secret")
    assert KEYRING.decrypt(stored["client_secret"]["$enc"], place) == "hush"
    assert stored["client_id"] == "worker"


@pytest.mark.parametrize(
    ("changes", "code", "named"),
    [
        ({"auth_config": {}}, "unknown_setting", "auth_config"),
        ({"is_enabled": True}, "unknown_setting", "is_enabled"),
        ({"id = 1; --": 1}, "unknown_setting", "id = 1"),
        ({}, "unknown_setting", "timeout_seconds"),
        ({"timeout_seconds": "20"}, "bad_setting", "timeout_seconds"),
        ({"timeout_seconds": True}, "bad_setting", "timeout_seconds"),
        ({"timeout_seconds": None}, "bad_setting", "timeout_seconds"),
        ({"timeout_seconds": 0}, "bad_setting", "timeout_seconds"),
        ({"timeout_seconds": 2**40}, "bad_setting", "out of range"),
        ({"match_nicknames": 1}, "bad_setting", "match_nicknames"),
        ({"endpoint_url": " "}, "bad_setting", "endpoint_url"),
        ({"verified_confidence": 101}, "bad_setting", "verified_confidence"),
        ({"verified_confidence": Decimal("NaN")}, "bad_setting", "verified_confidence"),
        ({"verified_confidence": 50, "partial_confidence": 60}, "bad_setting", "confidence_order"),
    ],
    ids=str,
)
def test_a_bad_setting_is_named_and_nothing_is_changed(
    db: Database, changes: dict[str, Any], code: str, named: str
) -> None:
    with db.transaction() as connection:
        configuration_id = added(connection)
        before = row(connection, configuration_id)
        with pytest.raises(BadRequest, match=named) as refused:
            configurations.configure(
                connection, SYSTEM, configuration_id, {"retry_attempts": 1, **changes} if changes else {}
            )
        assert refused.value.code == code
        assert row(connection, configuration_id) == before


def test_production_waits_for_a_sandbox_call_where_the_integration_says_so(db: Database) -> None:
    with db.transaction() as connection:
        connection.execute(text("UPDATE third_party_integration SET requires_sandbox = true"))
        sandbox, production = added(connection), added(connection, environment="production")
        for configuration_id in (sandbox, production):
            credentials(connection, configuration_id)
        configurations.enable(connection, SYSTEM, sandbox)
        assert refusal(lambda: configurations.enable(connection, SYSTEM, production)) == "sandbox_first"
        connection.execute(
            text(
                """INSERT INTO integration_request (integration_id, configuration_id, user_id, endpoint, correlation_id,
                       request_status, status_id, created_by)
                   SELECT integration_id, id, created_by, '/', 'c-1', 'completed', status_id, created_by
                   FROM integration_configuration WHERE id = :id"""
            ),
            {"id": sandbox},
        )
        configurations.enable(connection, SYSTEM, production)
        assert [one.is_enabled for one in configurations.configurations(connection)] == [True, True]


def test_a_scope_has_one_configuration_of_an_environment(db: Database) -> None:
    with db.transaction() as connection:
        added(connection)
        assert refusal(lambda: added(connection)) == "known_configuration"
        assert refusal(lambda: configurations.disable(connection, SYSTEM, 999)) == "unknown_configuration"


def test_every_column_of_a_configuration_can_be_changed_by_somebody() -> None:
    """A new one that is forgotten here could be changed by SQL only, past rights and trail."""
    scope = {"integration_id", "configuration_level", "program_id", "producer_id", "environment"}
    own_function = {"auth_config", "is_enabled"}
    bookkeeping = {"id", "status_id", "created_by", "updated_by", "created_at", "updated_at"}
    columns = set(IntegrationConfiguration.__table__.columns.keys())
    assert columns - scope - own_function - bookkeeping == set(configurations.SETTINGS)
