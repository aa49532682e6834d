"""What people name by codes: an integration, and the program and producer something counts for."""

from sqlalchemy import Connection, TextClause, text

from worker.errors import BadRequest
from worker.permissions import Scope


def scope_of(
    connection: Connection, integration: str, *, program: str | None = None, producer: str | None = None
) -> Scope:
    """The ids behind the codes. Raises `BadRequest`: unknown_integration, unknown_program or unknown_producer."""
    return Scope(
        _id(connection, _INTEGRATION, "integration", integration),
        None if program is None else _id(connection, _PROGRAM, "program", program),
        None if producer is None else _id(connection, _PRODUCER, "producer", producer),
    )


def level_of(scope: Scope) -> str:
    """The name of the scope, as configurations, mappings and permissions call it."""
    return "producer" if scope.producer_id is not None else "program" if scope.program_id is not None else "system"


def _id(connection: Connection, query: TextClause, what: str, code: str) -> int:
    found: int | None = connection.execute(query, {"code": code}).scalar_one_or_none()
    if found is None:
        raise BadRequest(f"unknown_{what}", f"There is no {what} {code}.")
    return found


_INTEGRATION = text("SELECT id FROM third_party_integration WHERE code = :code")
_PROGRAM = text("SELECT id FROM program WHERE code = :code")
_PRODUCER = text("SELECT id FROM producer WHERE producer_code = :code")
