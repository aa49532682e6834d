"""The fields of providers' answers, as far as somebody has described them: only these can be mapped."""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import get_args

from sqlalchemy import Connection, text

from models.vocabularies import DataClass, NodeDataType
from worker.audit import audit
from worker.configuration.field_mapping import paths
from worker.errors import BadRequest
from worker.permissions import Actor, Scope, require


@dataclass(frozen=True, slots=True)
class Node:
    """A described field. `is_deprecated`: as of the version that the integration speaks."""

    id: int
    path: str
    data_type: str
    is_array: bool
    is_required: bool
    api_version: str
    is_deprecated: bool


def nodes(connection: Connection, integration_id: int) -> list[Node]:
    """The nodes of the API version that the integration speaks, by path."""
    return [Node(*row) for row in connection.execute(_NODES, {"integration_id": integration_id})]


def node_at(connection: Connection, integration_id: int, path: str) -> Node:
    """The newest node of a path. Raises `BadRequest` with code unknown_node, which names similar ones."""
    known = {node.path: node for node in nodes(connection, integration_id)}
    if (found := known.get(path)) is not None:
        return found
    close = get_close_matches(path, known, n=3)
    also = f"; did you mean {' or '.join(close)}" if close else ""
    raise BadRequest("unknown_node", f"This integration has no node {path}{also}. Nodes must be described first.")


def add_node(
    connection: Connection,
    actor: Actor,
    scope: Scope,
    path: str,
    data_type: str,
    *,
    name: str = "",
    is_array: bool = False,
    is_required: bool = False,
    pii_class: str | None = None,
    by: str | None = None,
) -> int:
    """Describe a field of the API version that the integration speaks; gives its id. Needs manage_mappings everywhere.

    One with a `pii_class` is masked as a value of that class in every answer, old ones included.
    Raises `BadRequest` with code forbidden, bad_path, bad_data_type, bad_pii_class or known_node.
    """
    system = Scope(scope.integration_id)
    require(connection, actor, "manage_mappings", system)
    if not paths.is_path(path):
        raise BadRequest("bad_path", f"{path!r} is not the path of a node, such as driver_data.license_info.status")
    if data_type not in get_args(NodeDataType):
        known = ", ".join(get_args(NodeDataType))
        raise BadRequest("bad_data_type", f"There is no type {data_type}; there are {known}.")
    if pii_class is not None and pii_class not in get_args(DataClass):
        known = ", ".join(get_args(DataClass))
        raise BadRequest("bad_pii_class", f"There is no class {pii_class} of personal data; there are {known}.")
    values = {
        "integration_id": scope.integration_id,
        "pii_class": pii_class,
        "path": path,
        "name": name or path.rsplit(".", 1)[-1].removesuffix("[]").replace("_", " ").title()[:100],
        "data_type": data_type,
        "is_array": is_array,
        "is_required": is_required,
        "user_id": actor.user_id,
    }
    node_id: int | None = connection.execute(_ADD, values).scalar_one_or_none()
    if node_id is None:
        raise BadRequest("known_node", f"The node {path} is described already.")
    _note(connection, actor, "integration.node_added", node_id, scope, by)
    return node_id


def deprecate_node(
    connection: Connection, actor: Actor, scope: Scope, path: str, version: str, *, by: str | None = None
) -> None:
    """Note that the provider gives a field up from an API version on. Mappings of it go on, each use with a note.

    Needs manage_mappings everywhere. Raises `BadRequest` with code forbidden, bad_version or unknown_node.
    """
    require(connection, actor, "manage_mappings", Scope(scope.integration_id))
    if not version.strip() or len(version) > 20:
        raise BadRequest("bad_version", "a version has one to twenty characters, such as 2.8")
    node = node_at(connection, scope.integration_id, path)
    connection.execute(_DEPRECATE, {"id": node.id, "version": version, "user_id": actor.user_id})
    _note(connection, actor, "integration.node_deprecated", node.id, scope, by)


def _note(connection: Connection, actor: Actor, action: str, node_id: int, scope: Scope, by: str | None) -> None:
    audit(
        connection,
        action=action,
        resource_type="integration_node",
        resource_id=node_id,
        user_id=actor.user_id,
        details={"integration_id": scope.integration_id, "by": by},
    )


# The newest version of a path that the integration has reached.
_NODES = text(
    """
    SELECT DISTINCT ON (node.node_path) node.id, node.node_path, node.data_type, node.is_array, node.is_required,
        node.api_version, version_reached(node.deprecated_in_version, api.api_version)
    FROM integration_node AS node JOIN third_party_integration AS api ON api.id = node.integration_id
    WHERE node.integration_id = :integration_id
      AND (api.api_version IS NULL OR version_reached(node.api_version, api.api_version))
    ORDER BY node.node_path, string_to_array(substring(node.api_version FROM '^[0-9.]*[0-9]'), '.')::numeric[] DESC
    """
)

_ADD = text(
    """
    INSERT INTO integration_node (
        integration_id, node_path, node_name, data_type, is_array, is_required, pii_class, api_version, status_id,
        created_by
    )
    SELECT api.id, :path, :name, :data_type, :is_array, :is_required, :pii_class, coalesce(api.api_version, '1'),
        (SELECT id FROM status WHERE code = 'ACTIVE'),
        coalesce(CAST(:user_id AS uuid), '00000000-0000-0000-0000-000000000001')
    FROM third_party_integration AS api WHERE api.id = :integration_id
    ON CONFLICT (integration_id, node_path, api_version) DO NOTHING
    RETURNING id
    """
)

_DEPRECATE = text(
    "UPDATE integration_node SET deprecated_in_version = :version, updated_by = CAST(:user_id AS uuid) WHERE id = :id"
)
