"""Who may do what with an integration: the rows of `integration_permission`, asked in one place.

The rule itself is SQL (`has_integration_right`), so that the functions which upstream applications call there follow
it too.
"""

from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from sqlalchemy import Connection, text

from worker.errors import BadRequest

Right = Literal["configure", "view_raw_responses", "manage_mappings", "enable_disable", "force_calls"]


@dataclass(frozen=True, slots=True)
class Actor:
    """Whoever wants something: a user, with the role its row names, and the groups it acts for.

    The system's own user may do everything. A client of the HTTP API has no user; it is the only member of the group
    that is called as its `client_id`.
    """

    user_id: UUID | None = None
    groups: frozenset[str] = field(default=frozenset())


@dataclass(frozen=True, slots=True)
class Scope:
    """What the right is wanted for. Without program and producer only rights of the system's scope count."""

    integration_id: int
    program_id: int | None = None
    producer_id: int | None = None


def may(connection: Connection, actor: Actor, right: Right, scope: Scope) -> bool:
    """Whether some permission of the actor's covers the scope: the system's, the program's or the producer's."""
    allowed: bool = connection.execute(
        _HAS_RIGHT,
        {
            "right": right,
            "integration_id": scope.integration_id,
            "program_id": scope.program_id,
            "producer_id": scope.producer_id,
            "user_id": actor.user_id,
            "groups": sorted(actor.groups),
        },
    ).scalar_one()
    return allowed


_HAS_RIGHT = text(
    """
    SELECT has_integration_right(
        :right, :integration_id, :program_id, :producer_id, CAST(:user_id AS uuid), CAST(:groups AS text[]))
    """
)


def require(connection: Connection, actor: Actor, right: Right, scope: Scope) -> None:
    """Raises `BadRequest` with code forbidden where `may` says no."""
    if not may(connection, actor, right, scope):
        raise BadRequest("forbidden", f"the right to {right.replace('_', ' ')} is missing for this integration")
