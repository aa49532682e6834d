"""Who may do what: every kind of target, scope and right, and what none of them gives."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import DBAPIError

from models.integration import IntegrationPermission, ThirdPartyIntegration
from models.reference import Producer, Program, Status
from models.users import SYSTEM_USER_ID, User
from worker import permissions
from worker.database import Database
from worker.errors import BadRequest
from worker.permissions import Actor, Right, Scope

SYSTEM = Actor(SYSTEM_USER_ID)
RIGHTS: tuple[Right, ...] = ("configure", "view_raw_responses", "manage_mappings", "enable_disable", "force_calls")


def add_user(connection: Connection, *, is_active: bool = True) -> UUID:
    row = {"email": f"{uuid4()}@example.test", "first_name": "Una", "last_name": "User", "role": "underwriter"}
    user_id: UUID = connection.execute(insert(User).values(**row, is_active=is_active).returning(User.id)).scalar_one()
    return user_id


def audit(connection: Connection) -> dict[str, Any]:
    active = connection.execute(select(Status.id).where(Status.code == "ACTIVE")).scalar_one()
    return {"status_id": active, "created_by": SYSTEM_USER_ID}


def integration(connection: Connection, code: str = "DCS_CRIMINAL") -> int:
    row = select(ThirdPartyIntegration.id).where(ThirdPartyIntegration.code == code)
    found: int = connection.execute(row).scalar_one()
    return found


def made(connection: Connection) -> tuple[int, int]:
    """A program and a producer."""
    program = insert(Program).values(code="P1", name="One", **audit(connection)).returning(Program.id)
    producer = insert(Producer).values(producer_code="R1", name="One", **audit(connection)).returning(Producer.id)
    return connection.execute(program).scalar_one(), connection.execute(producer).scalar_one()


def grant(
    connection: Connection,
    kind: str,
    target: str,
    right: Right,
    *,
    level: str = "system",
    program: int | None = None,
    producer: int | None = None,
) -> None:
    connection.execute(
        insert(IntegrationPermission).values(
            integration_id=integration(connection),
            permission_type=kind,
            permission_target_id=target,
            scope_level=level,
            program_id=program,
            producer_id=producer,
            **{f"can_{right}": True},
            **audit(connection),
        )
    )


@pytest.mark.parametrize("right", RIGHTS)
@pytest.mark.parametrize("kind", ["user", "role", "group"])
def test_a_row_grants_its_right_and_no_other(db: Database, kind: str, right: Right) -> None:
    with db.transaction() as connection:
        user_id = add_user(connection)
        actor = Actor(user_id, frozenset({"partners"}))
        targets = {"user": str(user_id), "role": "underwriter", "group": "partners"}
        grant(connection, kind, targets[kind], right)
        scope = Scope(integration(connection))
        assert [one for one in RIGHTS if permissions.may(connection, actor, one, scope)] == [right]
        elsewhere = Scope(integration(connection, "DCS_HOUSEHOLD_DRIVERS"))
        assert not permissions.may(connection, actor, right, elsewhere)
        assert not permissions.may(connection, Actor(uuid4(), frozenset({"others"})), right, scope)


@pytest.mark.parametrize(
    ("level", "covered"),
    [
        ("system", {"system", "program", "producer", "producer in program"}),
        ("program", {"program", "producer in program"}),
        ("producer", {"producer", "producer in program"}),
        ("producer in program", {"producer in program"}),
    ],
)
def test_a_row_covers_its_scope_and_what_lies_within(db: Database, level: str, covered: set[str]) -> None:
    with db.transaction() as connection:
        program, producer = made(connection)
        grant(
            connection,
            "group",
            "partners",
            "configure",
            level=level.split()[0],
            program=program if "program" in level else None,
            producer=producer if "producer" in level else None,
        )
        one = integration(connection)
        scopes = {
            "system": Scope(one),
            "program": Scope(one, program),
            "producer": Scope(one, None, producer),
            "producer in program": Scope(one, program, producer),
        }
        actor = Actor(groups=frozenset({"partners"}))
        allowed = {name for name, scope in scopes.items() if permissions.may(connection, actor, "configure", scope)}
        assert allowed == covered


def test_the_platform_needs_no_row_and_a_disabled_user_s_rows_grant_nothing(db: Database) -> None:
    with db.transaction() as connection:
        scope = Scope(integration(connection))
        assert permissions.may(connection, SYSTEM, "configure", scope)
        gone = add_user(connection, is_active=False)
        grant(connection, "user", str(gone), "configure")
        grant(connection, "role", "underwriter", "configure")
        assert not permissions.may(connection, Actor(gone), "configure", scope)
        with pytest.raises(BadRequest) as refused:
            permissions.require(connection, Actor(gone), "configure", scope)
        assert refused.value.code == "forbidden"
        permissions.require(connection, SYSTEM, "configure", scope)


def test_an_unknown_right_is_an_error_and_not_a_no(db: Database) -> None:
    with pytest.raises(DBAPIError, match="InvalidParameterValue"), db.transaction() as connection:
        permissions.may(connection, SYSTEM, "paint", Scope(1))  # type: ignore[arg-type]  # what is tested
