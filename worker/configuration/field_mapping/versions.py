"""Changing field mappings: a first version, the next one, an end. What was stays, in the rows and in the audit trail.

Each function is a deed in the caller's transaction and needs the right to manage mappings in the mapping's scope. From
the next job on workers follow it, everywhere.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy import Row as DatabaseRow

from worker.audit import audit
from worker.configuration.field_mapping.compiled import Row, check_row
from worker.configuration.field_mapping.nodes import Node, node_at, nodes
from worker.configuration.field_mapping.problems import BadRule
from worker.configuration.field_mapping.rulebook import rules_from
from worker.configuration.field_mapping.targets import Target
from worker.configuration.field_mapping.transforms import concat_of
from worker.configuration.integrations import level_of
from worker.errors import BadRequest
from worker.permissions import Actor, Scope, require

RESOURCE = "integration_field_mapping"


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a mapping; the rules as they are stored."""

    id: int
    level: str
    program: str | None
    producer: str | None
    node: str
    target: str
    version: int
    is_active: bool
    replaced_id: int | None
    transformation: dict[str, Any] | None
    validation: dict[str, Any] | None
    created_at: datetime


def targets(connection: Connection) -> dict[str, Target]:
    """The columns that may be mapped, by `table.column`."""
    return {str(target): target for row in connection.execute(_TARGETS) if (target := Target(*row))}


def versions(connection: Connection, integration_id: int, *, all_versions: bool = False) -> list[Version]:
    """The mappings of an integration by target, nearest scopes last; with `all_versions` those that have ended too."""
    return [
        Version(*row) for row in connection.execute(_VERSIONS, {"integration_id": integration_id, "all": all_versions})
    ]


def version(connection: Connection, mapping_id: int) -> Version:
    """One version. Raises `BadRequest` with code unknown_mapping."""
    row = connection.execute(_VERSION, {"id": mapping_id}).one_or_none()
    if row is None:
        raise BadRequest("unknown_mapping", f"There is no field mapping {mapping_id}.")
    return Version(*row)


def add(
    connection: Connection,
    actor: Actor,
    scope: Scope,
    node: str,
    target: str,
    *,
    transformation: Mapping[str, Any] | None = None,
    validation: Mapping[str, Any] | None = None,
    by: str | None = None,
) -> int:
    """Map the node at a path to `table.column` in a scope; gives the version's id.

    A mapping that was retired begins again behind its last version. Raises `BadRequest` with code forbidden,
    unknown_node, deprecated_node, unknown_target, bad_rule or already_mapped; nothing is written then.
    """
    require(connection, actor, "manage_mappings", scope)
    return _insert(connection, actor, scope, node, target, transformation, validation, None, by)


def replace(
    connection: Connection,
    actor: Actor,
    mapping_id: int,
    *,
    node: str | None = None,
    transformation: Mapping[str, Any] | None = None,
    validation: Mapping[str, Any] | None = None,
    by: str | None = None,
) -> int:
    """End an active version and put one with these rules in its place, from another node if named; gives the new id.

    Rules not given are none: the new version is whole by itself. Raises `BadRequest` as `add` does, and with code
    unknown_mapping or not_active.
    """
    old, scope = _ended(connection, actor, mapping_id)
    target = f"{old.target_table}.{old.target_column}"
    return _insert(connection, actor, scope, node or old.node_path, target, transformation, validation, old.id, by)


def retire(connection: Connection, actor: Actor, mapping_id: int, *, by: str | None = None) -> None:
    """End a mapping without a new version: wider scopes' mappings of the target count again.

    Raises `BadRequest` with code forbidden, unknown_mapping or not_active.
    """
    old, scope = _ended(connection, actor, mapping_id)
    _note(connection, actor, "integration.mapping_retired", old.id, scope, by, old.version_number)


def checked(
    connection: Connection,
    scope: Scope,
    node: Node,
    target: str,
    transformation: Mapping[str, Any] | None,
    validation: Mapping[str, Any] | None,
) -> tuple[Target, Row]:
    """The mapping as it would be, compiled once on trial. Raises `BadRequest` as `add` does."""
    allowed = targets(connection)
    if (column := allowed.get(target)) is None:
        raise BadRequest(
            "unknown_target", f"{target} is not among the columns that may be mapped: {', '.join(sorted(allowed))}."
        )
    if node.is_deprecated:
        raise BadRequest("deprecated_node", f"The provider gives up {node.path}: it can't be mapped anew.")
    if node.is_array and "array" not in (transformation or {}):
        raise BadRule(f'{node.path} is a list: say with the rule "array" what is taken of it')
    rules = [rules_from(_stored(given)) for given in (transformation, validation)]
    row = Row(0, node.path, column, *rules)
    check_row(row)
    joined, _ = concat_of(rules[0]) or ((), "")
    known = {known.path for known in nodes(connection, scope.integration_id)}
    if unknown := [path for path in joined if path not in known]:
        raise BadRule(f"concat names {unknown[0]}, which is no node of this integration")
    return column, row


def _ended(connection: Connection, actor: Actor, mapping_id: int) -> tuple[DatabaseRow[Any], Scope]:
    """The version and its scope, no longer active. The lock makes two who replace it one after the other."""
    old = connection.execute(_LOCK, {"id": mapping_id}).one_or_none()
    if old is None:
        raise BadRequest("unknown_mapping", f"There is no field mapping {mapping_id}.")
    scope = Scope(old.integration_id, old.program_id, old.producer_id)
    require(connection, actor, "manage_mappings", scope)
    if not old.is_active_version:
        raise BadRequest("not_active", f"Field mapping {mapping_id} was replaced or retired: it is not active.")
    connection.execute(_END, {"id": mapping_id, "user_id": actor.user_id})
    return old, scope


def _insert(
    connection: Connection,
    actor: Actor,
    scope: Scope,
    path: str,
    target: str,
    transformation: Mapping[str, Any] | None,
    validation: Mapping[str, Any] | None,
    replaced_id: int | None,
    by: str | None,
) -> int:
    node = node_at(connection, scope.integration_id, path)
    column, _ = checked(connection, scope, node, target, transformation, validation)
    values = {
        "integration_id": scope.integration_id,
        "level": level_of(scope),
        "program_id": scope.program_id,
        "producer_id": scope.producer_id,
        "node_id": node.id,
        "table": column.table,
        "column": column.column,
        "transformation": _stored(transformation),
        "validation": _stored(validation),
        "replaced_id": replaced_id,
        "user_id": actor.user_id,
    }
    row = connection.execute(_INSERT, values).one_or_none()
    if row is None:
        raise BadRequest("already_mapped", f"{path} is mapped to {target} in this scope already: replace that version.")
    action = "integration.mapping_added" if row.replaced_mapping_id is None else "integration.mapping_replaced"
    _note(connection, actor, action, row.id, scope, by, row.version_number)
    return int(row.id)


def _stored(rules: Mapping[str, Any] | None) -> str | None:
    if rules is None:
        return None
    try:
        stored = json.dumps(rules, allow_nan=False, ensure_ascii=False)
        stored.encode()
    except (TypeError, ValueError):
        raise BadRule("rules must be JSON") from None
    if "\\u0000" in stored:
        raise BadRule("rules must not hold the character NUL, which PostgreSQL can't store")
    return stored


def _note(
    connection: Connection, actor: Actor, action: str, mapping_id: int, scope: Scope, by: str | None, number: int
) -> None:
    audit(
        connection,
        action=action,
        resource_type=RESOURCE,
        resource_id=mapping_id,
        user_id=actor.user_id,
        details={
            "integration_id": scope.integration_id,
            "program_id": scope.program_id,
            "producer_id": scope.producer_id,
            "version": number,
            "by": by,
        },
    )


_TARGETS = text("SELECT * FROM mapping_targets() ORDER BY 1, 2")

_SELECT = """
    SELECT mapping.id, mapping.mapping_scope, program.code, producer.producer_code, node.node_path,
        mapping.target_table || '.' || mapping.target_column, mapping.version_number, mapping.is_active_version,
        mapping.replaced_mapping_id, mapping.transformation_rules, mapping.validation_rules, mapping.created_at
    FROM integration_field_mapping AS mapping
    JOIN integration_node AS node ON node.id = mapping.source_node_id
    LEFT JOIN program ON program.id = mapping.program_id
    LEFT JOIN producer ON producer.id = mapping.producer_id
"""

_VERSIONS = text(
    f"""{_SELECT}
    WHERE mapping.integration_id = :integration_id AND (mapping.is_active_version OR :all)
    ORDER BY mapping.target_table, mapping.target_column,
        array_position(ARRAY['system', 'program', 'producer'], mapping.mapping_scope::text),
        program.code NULLS FIRST, producer.producer_code NULLS FIRST, mapping.version_number, mapping.id
    """
)

_VERSION = text(f"{_SELECT} WHERE mapping.id = :id")

_LOCK = text(
    """
    SELECT mapping.*, node.node_path
    FROM integration_field_mapping AS mapping JOIN integration_node AS node ON node.id = mapping.source_node_id
    WHERE mapping.id = :id FOR NO KEY UPDATE OF mapping
    """
)

_END = text(
    "UPDATE integration_field_mapping SET is_active_version = false, updated_by = CAST(:user_id AS uuid) WHERE id = :id"
)

# A new version is the next one of its target in its scope, whatever node the others came from.
_INSERT = text(
    """
    WITH earlier AS (
        SELECT id, version_number, is_active_version FROM integration_field_mapping
        WHERE integration_id = :integration_id AND target_table = :table AND target_column = :column
          AND mapping_scope = :level AND program_id IS NOT DISTINCT FROM CAST(:program_id AS bigint)
          AND producer_id IS NOT DISTINCT FROM CAST(:producer_id AS bigint)
    )
    INSERT INTO integration_field_mapping (
        integration_id, mapping_scope, program_id, producer_id, source_node_id, target_table, target_column,
        transformation_rules, validation_rules, version_number, replaced_mapping_id, status_id, created_by
    )
    SELECT :integration_id, :level, :program_id, :producer_id, :node_id, :table, :column,
        CAST(:transformation AS jsonb), CAST(:validation AS jsonb),
        coalesce((SELECT max(version_number) FROM earlier), 0) + 1,
        coalesce(:replaced_id, (SELECT id FROM earlier WHERE NOT is_active_version
                                AND NOT EXISTS (SELECT FROM earlier AS other WHERE other.is_active_version)
                                ORDER BY version_number DESC LIMIT 1)),
        (SELECT id FROM status WHERE code = 'ACTIVE'),
        coalesce(CAST(:user_id AS uuid), '00000000-0000-0000-0000-000000000001')
    ON CONFLICT DO NOTHING
    RETURNING id, version_number, replaced_mapping_id
    """
)
