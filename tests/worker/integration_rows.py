"""Users with rights, programs and producers, for tests of what only some may do with an integration."""

from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, insert, select

from models.integration import IntegrationPermission, ThirdPartyIntegration
from models.reference import Producer, Program, Status
from models.users import SYSTEM_USER_ID, User
from worker.permissions import Right

DRIVERS = "DCS_HOUSEHOLD_DRIVERS"


def add_user(connection: Connection, *, is_active: bool = True) -> UUID:
    row = {"email": f"{uuid4()}@example.test", "first_name": "Una", "last_name": "User", "role": "underwriter"}
    user_id: UUID = connection.execute(insert(User).values(**row, is_active=is_active).returning(User.id)).scalar_one()
    return user_id


def audited(connection: Connection) -> dict[str, Any]:
    active = connection.execute(select(Status.id).where(Status.code == "ACTIVE")).scalar_one()
    return {"status_id": active, "created_by": SYSTEM_USER_ID}


def integration(connection: Connection, code: str = DRIVERS) -> int:
    row = select(ThirdPartyIntegration.id).where(ThirdPartyIntegration.code == code)
    found: int = connection.execute(row).scalar_one()
    return found


def add_program(connection: Connection, code: str) -> int:
    row = insert(Program).values(code=code, name=code, **audited(connection)).returning(Program.id)
    found: int = connection.execute(row).scalar_one()
    return found


def add_producer(connection: Connection, code: str) -> int:
    row = insert(Producer).values(producer_code=code, name=code, **audited(connection)).returning(Producer.id)
    found: int = connection.execute(row).scalar_one()
    return found


def grant(
    connection: Connection,
    user_id: UUID,
    right: Right,
    *,
    program: int | None = None,
    producer: int | None = None,
    code: str = DRIVERS,
) -> None:
    level = "producer" if producer is not None else "program" if program is not None else "system"
    connection.execute(
        insert(IntegrationPermission).values(
            integration_id=integration(connection, code),
            permission_type="user",
            permission_target_id=str(user_id),
            scope_level=level,
            program_id=program,
            producer_id=producer,
            **{f"can_{right}": True},
            **audited(connection),
        )
    )
