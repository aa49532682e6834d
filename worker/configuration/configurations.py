"""How integrations are called: switching them on and off, and changing their configurations, for those who may.

Each function is a deed in the caller's transaction, needs its right in the configuration's scope, and leaves a row in
the audit trail with the names of what was changed, never the values. Jobs follow from their next run on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson
from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import DataError, IntegrityError

from models.vocabularies import Environment
from worker.audit import audit
from worker.configuration.integrations import level_of
from worker.crypto import Keyring, Place
from worker.errors import BadRequest
from worker.permissions import Actor, Right, Scope, require

RESOURCE = "integration_configuration"

SETTINGS: dict[str, tuple[type, ...]] = {
    "endpoint_url": (str,),
    "is_required": (bool,),
    "timeout_seconds": (int,),
    "retry_attempts": (int,),
    "cache_ttl_hours": (int,),
    "max_requests_per_second": (int, Decimal, type(None)),
    "max_calls_in_flight": (int, type(None)),
    "keeps_owner_id": (bool,),
    "verified_confidence": (int, Decimal, type(None)),
    "partial_confidence": (int, Decimal, type(None)),
    "match_nicknames": (bool,),
    "price_per_call": (int, Decimal, type(None)),
}
"""What `configure` changes, and of which types the values are. Credentials have a function of their own."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """A row as operators see it: without credentials."""

    id: int
    integration: str
    level: str
    program: str | None
    producer: str | None
    environment: str
    is_enabled: bool
    is_active: bool
    settings: dict[str, Any]


def configurations(connection: Connection) -> list[Configuration]:
    """Every configuration, by integration and scope. `is_active` is the switch of the whole integration."""
    return [
        Configuration(*(*row[:8], {name: getattr(row, name) for name in SETTINGS})) for row in connection.execute(_ALL)
    ]


def add(
    connection: Connection,
    actor: Actor,
    scope: Scope,
    environment: Environment,
    endpoint_url: str,
    *,
    by: str | None = None,
) -> int:
    """A configuration for a scope, switched off and without credentials; gives its id. Needs the right to configure.

    Raises `BadRequest` with code forbidden, bad_setting or known_configuration.
    """
    require(connection, actor, "configure", scope)
    _check("endpoint_url", endpoint_url)
    values = {
        "integration_id": scope.integration_id,
        "level": level_of(scope),
        "program_id": scope.program_id,
        "producer_id": scope.producer_id,
        "environment": environment,
        "endpoint_url": endpoint_url,
        "user_id": actor.user_id,
    }
    configuration_id: int | None = connection.execute(_ADD, values).scalar_one_or_none()
    if configuration_id is None:
        raise BadRequest("known_configuration", f"This scope has a {environment} configuration already.")
    _note(connection, actor, "integration.configuration_added", configuration_id, by)
    return configuration_id


def configure(
    connection: Connection, actor: Actor, configuration_id: int, changes: Mapping[str, Any], *, by: str | None = None
) -> None:
    """Change settings of a configuration, all or none. Needs the right to configure.

    Raises `BadRequest` with code forbidden, unknown_configuration, unknown_setting or bad_setting.
    """
    _locked(connection, actor, "configure", configuration_id)
    for name, value in changes.items():
        _check(name, value)
    if not changes:
        raise BadRequest("unknown_setting", f"Name what to change: {', '.join(SETTINGS)}.")
    columns = ", ".join(f"{name} = :{name}" for name in changes)  # checked above: names of ours
    statement = f"UPDATE integration_configuration SET {columns}, updated_by = CAST(:user_id AS uuid) WHERE id = :id"  # noqa: S608 - checked above
    try:
        with connection.begin_nested():
            connection.execute(text(statement), {**changes, "id": configuration_id, "user_id": actor.user_id})
    except (IntegrityError, DataError) as error:
        raise BadRequest("bad_setting", f"The database refuses a value: {_constraint(error)}.") from None
    _note(connection, actor, "integration.configured", configuration_id, by, changed=sorted(changes))


def set_credentials(
    connection: Connection,
    actor: Actor,
    keyring: Keyring,
    configuration_id: int,
    plain: Mapping[str, str],
    secrets: Mapping[str, str],
    *,
    by: str | None = None,
) -> None:
    """Replace the credentials: `plain` such as client_id as it is, `secrets` encrypted. Needs the right to configure.

    Raises `BadRequest` with code forbidden, unknown_configuration or configuration_error, which names what is lacking.
    """
    row = _locked(connection, actor, "configure", configuration_id)
    sealed = {
        name: {"$enc": keyring.encrypt(secret, Place(RESOURCE, "auth_config", str(configuration_id), name))}
        for name, secret in secrets.items()
    }
    values = {"id": configuration_id, "auth_type": row.auth_type, "config": orjson.dumps({**plain, **sealed}).decode()}
    if problem := connection.execute(_PROBLEM, values).scalar_one():
        raise BadRequest("configuration_error", f"{problem}.")
    connection.execute(_SET_CREDENTIALS, {**values, "user_id": actor.user_id})
    _note(connection, actor, "integration.credentials_set", configuration_id, by, changed=sorted([*plain, *secrets]))


def enable(connection: Connection, actor: Actor, configuration_id: int, *, by: str | None = None) -> None:
    """Switch a configuration on. Needs the right to enable and disable.

    Raises `BadRequest` with code forbidden, unknown_configuration, configuration_error (it could not work) or
    sandbox_first (the integration wants a completed sandbox call before production).
    """
    row = _locked(connection, actor, "enable_disable", configuration_id)
    values = {"auth_type": row.auth_type, "config": orjson.dumps(row.auth_config).decode()}
    if problem := connection.execute(_PROBLEM, values).scalar_one():
        raise BadRequest("configuration_error", f"{problem}.")
    if row.requires_sandbox and row.environment == "production" and not row.has_sandbox_call:
        raise BadRequest("sandbox_first", "This integration wants a sandbox call that succeeded before production.")
    _switch(connection, actor, configuration_id, by, is_enabled=True)


def disable(connection: Connection, actor: Actor, configuration_id: int, *, by: str | None = None) -> None:
    """Switch a configuration off: its waiting jobs end as integration_disabled. Needs the right to enable and disable.

    Raises `BadRequest` with code forbidden or unknown_configuration.
    """
    _locked(connection, actor, "enable_disable", configuration_id)
    _switch(connection, actor, configuration_id, by, is_enabled=False)


def switch_integration(
    connection: Connection, actor: Actor, integration_id: int, *, is_active: bool, by: str | None = None
) -> None:
    """Switch an integration on or off for everybody. Needs the right to enable and disable in the system's scope.

    Raises `BadRequest` with code forbidden.
    """
    require(connection, actor, "enable_disable", Scope(integration_id))
    connection.execute(_SWITCH_ALL, {"id": integration_id, "is_active": is_active, "user_id": actor.user_id})
    audit(
        connection,
        action="integration.switched_on" if is_active else "integration.switched_off",
        resource_type="third_party_integration",
        resource_id=integration_id,
        user_id=actor.user_id,
        details={"by": by},
    )


def _check(name: str, value: object) -> None:
    if name not in SETTINGS:
        raise BadRequest("unknown_setting", f"There is no setting {name}; there are {', '.join(SETTINGS)}.")
    # A bool is an int to Python, and not to people.
    if not isinstance(value, SETTINGS[name]) or (isinstance(value, bool) and bool not in SETTINGS[name]):
        wanted = " or ".join("none" if kind is type(None) else kind.__name__.lower() for kind in SETTINGS[name])
        raise BadRequest("bad_setting", f"{name} must be of the type {wanted}.")
    if name == "endpoint_url" and (not str(value).strip() or len(str(value)) > 255):
        raise BadRequest("bad_setting", "endpoint_url must have one to 255 characters.")


def _constraint(error: IntegrityError | DataError) -> str:
    name = getattr(getattr(error.orig, "diag", None), "constraint_name", None)
    return name.removeprefix(f"ck_{RESOURCE}_") if name else "it is out of range"


def _locked(connection: Connection, actor: Actor, right: Right, configuration_id: int) -> Row[Any]:
    row = connection.execute(_LOCK, {"id": configuration_id}).one_or_none()
    if row is None:
        raise BadRequest("unknown_configuration", f"There is no configuration {configuration_id}.")
    require(connection, actor, right, Scope(row.integration_id, row.program_id, row.producer_id))
    return row


def _switch(connection: Connection, actor: Actor, configuration_id: int, by: str | None, *, is_enabled: bool) -> None:
    connection.execute(_SWITCH, {"id": configuration_id, "is_enabled": is_enabled, "user_id": actor.user_id})
    action = "integration.configuration_enabled" if is_enabled else "integration.configuration_disabled"
    _note(connection, actor, action, configuration_id, by)


def _note(
    connection: Connection, actor: Actor, action: str, configuration_id: int, by: str | None, **details: Any
) -> None:
    audit(
        connection,
        action=action,
        resource_type=RESOURCE,
        resource_id=configuration_id,
        user_id=actor.user_id,
        details={"by": by, **details},
    )


_ALL = text(
    """
    SELECT c.id, api.code, c.configuration_level, program.code, producer.producer_code, c.environment, c.is_enabled,
        api.is_active, c.endpoint_url, c.is_required, c.timeout_seconds, c.retry_attempts, c.cache_ttl_hours,
        c.max_requests_per_second, c.max_calls_in_flight, c.keeps_owner_id, c.verified_confidence, c.partial_confidence,
        c.match_nicknames, c.price_per_call
    FROM integration_configuration AS c JOIN third_party_integration AS api ON api.id = c.integration_id
    LEFT JOIN program ON program.id = c.program_id LEFT JOIN producer ON producer.id = c.producer_id
    ORDER BY api.code, c.environment, array_position(ARRAY['system', 'program', 'producer'],
        c.configuration_level::text), c.id
    """
)

_ADD = text(
    """
    INSERT INTO integration_configuration (
        integration_id, configuration_level, program_id, producer_id, environment, endpoint_url, auth_config,
        status_id, created_by
    ) VALUES (
        :integration_id, :level, :program_id, :producer_id, :environment, :endpoint_url, '{}',
        (SELECT id FROM status WHERE code = 'ACTIVE'),
        coalesce(CAST(:user_id AS uuid), '00000000-0000-0000-0000-000000000001')
    )
    ON CONFLICT DO NOTHING RETURNING id
    """
)

_LOCK = text(
    """
    SELECT c.*, api.auth_type, api.requires_sandbox,
        EXISTS (SELECT FROM integration_request AS r JOIN integration_configuration AS s ON s.id = r.configuration_id
                WHERE r.integration_id = c.integration_id AND s.environment = 'sandbox'
                  AND r.request_status = 'completed') AS has_sandbox_call
    FROM integration_configuration AS c JOIN third_party_integration AS api ON api.id = c.integration_id
    WHERE c.id = :id FOR NO KEY UPDATE OF c
    """
)

_PROBLEM = text("SELECT auth_config_problem(:auth_type, CAST(:config AS jsonb))")

_SET_CREDENTIALS = text(
    """
    UPDATE integration_configuration
    SET auth_config = CAST(:config AS jsonb), updated_by = CAST(:user_id AS uuid) WHERE id = :id
    """
)

_SWITCH = text(
    """
    UPDATE integration_configuration
    SET is_enabled = :is_enabled, updated_by = CAST(:user_id AS uuid) WHERE id = :id
    """
)

_SWITCH_ALL = text(
    """
    UPDATE third_party_integration
    SET is_active = :is_active, updated_by = CAST(:user_id AS uuid) WHERE id = :id
    """
)
