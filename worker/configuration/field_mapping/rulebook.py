"""The active mappings of an integration as a worker holds them: read once, compiled for the scopes that ask.

Each change of a mapping or a node changes the integration's `mapping_stamp`, which comes along with every question at
no price. A worker whose rulebook has another stamp reads it again: in the next job, not after some time.
"""

import json
from collections.abc import Iterable
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from worker.configuration.field_mapping.compiled import FieldMap, Row, compile_map
from worker.configuration.field_mapping.targets import Target

_Level = tuple[int | None, int | None]
"""Program and producer of a row's scope; a producer's row may count in one program only."""


class Rulebook:
    """What one integration's active rows say. Compiles what is asked for, once for each set of scopes with own rows."""

    def __init__(self, stamp: UUID, rows: Iterable[tuple[_Level, Row]], required: Iterable[str]) -> None:
        self.stamp = stamp
        self._required = tuple(required)
        self._levels: dict[_Level, list[Row]] = {}
        for level, row in rows:
            self._levels.setdefault(level, []).append(row)
        self._maps: dict[tuple[tuple[_Level, ...], str], FieldMap] = {}

    def map(self, program_id: int | None, producer_id: int | None, root: str = "") -> FieldMap:
        """What counts for a producer in a program, of a document that begins at `root` (see `compile_map`).

        For each target the nearest scope that maps it at all decides alone: the producer's in this program, the
        producer's, the program's, the system's.
        """
        nearest_first = ((program_id, producer_id), (None, producer_id), (program_id, None), (None, None))
        levels = tuple(dict.fromkeys(level for level in nearest_first if level in self._levels))
        if (found := self._maps.get((levels, root))) is None:
            found = self._maps[levels, root] = compile_map(self._rows(levels), self._required, root)
        return found

    def _rows(self, levels: tuple[_Level, ...]) -> list[Row]:
        chosen: list[Row] = []
        mapped: set[object] = set()
        for level in levels:
            rows = [row for row in self._levels[level] if row.target is None or row.target not in mapped]
            chosen += rows
            mapped.update(row.target for row in rows)
        return chosen


class Rulebooks:
    """The rulebooks of this process. Threads may share it: at worst two of them read the same rows."""

    def __init__(self) -> None:
        self._books: dict[int, Rulebook] = {}

    def of(self, connection: Connection, integration_id: int, stamp: UUID) -> Rulebook:
        """The rulebook with the stamp that the caller has just read in the same transaction."""
        book = self._books.get(integration_id)
        if book is None or book.stamp != stamp:
            book = self._books[integration_id] = read_rulebook(connection, integration_id, stamp)
        return book


def read_rulebook(connection: Connection, integration_id: int, stamp: UUID) -> Rulebook:
    """Read the active rows, two statements."""
    rows = [
        ((found.program_id, found.producer_id), found.api_version, _row(found))
        for found in connection.execute(_ROWS, {"integration_id": integration_id})
    ]
    # Nodes of a newer API version come first; those of versions that the integration has not reached are not read.
    rows.sort(key=lambda row: (_number(row[1]), -row[2].mapping_id), reverse=True)
    required = connection.scalars(_REQUIRED, {"integration_id": integration_id})
    return Rulebook(stamp, [(level, row) for level, _, row in rows], required)


def rules_from(stored: str | None) -> Any:
    """Rules as the compiler wants them: numbers with a point as `Decimal`."""
    return None if stored is None else json.loads(stored, parse_float=Decimal)


def _row(found: Any) -> Row:
    return Row(
        found.id,
        found.node_path,
        # Rows older than the list of targets may name others.
        Target(found.target_table, found.target_column, found.kind, found.max_length) if found.kind else None,
        rules_from(found.transformation_rules),
        rules_from(found.validation_rules),
        found.is_deprecated,
    )


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdecimal() else 0 for part in version.split("."))


_REACHED = "(api.api_version IS NULL OR version_reached(node.api_version, api.api_version))"

_ROWS = text(
    f"""
    SELECT mapping.id, mapping.program_id, mapping.producer_id, mapping.target_table, mapping.target_column,
        mapping.transformation_rules::text, mapping.validation_rules::text, node.node_path, node.api_version,
        version_reached(node.deprecated_in_version, api.api_version) AS is_deprecated, target.kind, target.max_length
    FROM integration_field_mapping AS mapping
    JOIN integration_node AS node ON node.id = mapping.source_node_id
    JOIN third_party_integration AS api ON api.id = mapping.integration_id
    LEFT JOIN mapping_targets() AS target USING (target_table, target_column)
    WHERE mapping.integration_id = :integration_id AND mapping.is_active_version AND {_REACHED}
    """  # noqa: S608 - a constant of ours
)

_REQUIRED = text(
    f"""
    SELECT DISTINCT node.node_path
    FROM integration_node AS node JOIN third_party_integration AS api ON api.id = node.integration_id
    WHERE node.integration_id = :integration_id AND node.is_required AND {_REACHED}
      AND NOT version_reached(node.deprecated_in_version, api.api_version)
    ORDER BY node.node_path
    """  # noqa: S608 - a constant of ours
)
