"""What a map would do with a document, field by field, before it does so with everybody's."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from worker.configuration.field_mapping import versions
from worker.configuration.field_mapping.compiled import FieldMap, compile_map
from worker.configuration.field_mapping.nodes import node_at
from worker.configuration.field_mapping.rulebook import read_rulebook
from worker.permissions import Scope


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """One target. `verdict` is written, nothing (its nodes have no value) or the word of what failed.

    `length` counts characters of what would be written. `value` is personal data: print it only for whoever asked to
    see it.
    """

    target: str
    nodes: tuple[str, ...]
    verdict: str
    length: int | None
    value: str | int | None


def rehearse(field_map: FieldMap, document: Any, today: date) -> list[Rehearsed]:
    """Apply the map to the document and to nothing else; rules that can't be used and missing nodes come last."""
    mapped = field_map.apply(document, today)
    words = {note.path: note.word for note in mapped.notes}
    rehearsed = []
    for target, sources in field_map.fields:
        nodes = tuple(source.path for source in sources)
        value = mapped.values.get(target.table, {}).get(target.column)
        failed = next((words[node] for node in nodes if words.get(node) not in (None, "missing")), "nothing")
        verdict = failed if value is None else "written"
        length = None if value is None else len(str(value))
        rehearsed.append(Rehearsed(str(target), nodes, verdict, length, value))
    shown = {node for row in rehearsed for node in row.nodes}
    rest = (note for note in mapped.notes if note.path not in shown)
    return rehearsed + [Rehearsed("", (note.path,), note.word, None, None) for note in rest]


def in_force(connection: Connection, scope: Scope, root: str = "") -> FieldMap:
    """The map that counts in a scope now."""
    book = read_rulebook(connection, scope.integration_id, UUID(int=0))
    return book.map(scope.program_id, scope.producer_id, root)


def on_trial(
    connection: Connection,
    scope: Scope,
    path: str,
    target: str,
    transformation: Mapping[str, Any] | None = None,
    validation: Mapping[str, Any] | None = None,
    *,
    root: str = "",
) -> FieldMap:
    """The map of one mapping that is not saved. Raises `BadRequest` as `versions.add` does."""
    node = node_at(connection, scope.integration_id, path)
    _, row = versions.checked(connection, scope, node, target, transformation, validation)
    return compile_map([row], root=root)
