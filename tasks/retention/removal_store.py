"""Removes one table's overdue rows, with all that belongs to them, and records each batch in its own transaction.

Names of tables and columns come from the catalogue or were checked against it when the policy was saved.
"""

import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from tasks.retention.plan import Blocker, Dependent, Removal, removable
from worker.maintenance.stages import Batch


@dataclass(frozen=True, slots=True)
class Key:
    """The column of a table's primary key, and its type in SQL."""

    column: str
    type: str


@dataclass(frozen=True, slots=True)
class OverdueRows:
    """The stage of one policy. `cutoffs` says for each table with a policy which rows are overdue: those before it."""

    removal: Removal
    keys: Mapping[str, Key]
    cutoffs: Mapping[str, datetime]
    run_id: UUID
    is_leftovers: bool
    has_retention_until: bool

    @property
    def name(self) -> str:
        return self.removal.policy.table

    @property
    def most(self) -> int:
        return self.removal.policy.batch_size

    def size(self, connection: Connection) -> int:
        statement = f"SELECT count(*) FROM {self.name} AS r WHERE {self._overdue()}"  # noqa: S608 - see above
        return int(connection.execute(text(statement), {"cutoff": self.cutoffs[self.name]}).scalar_one())

    def batch(self, connection: Connection, after: Any, limit: int) -> Batch:
        began = time.monotonic()
        connection.execute(text("SELECT lock_legal_holds()"))
        candidates = self._candidates(connection, after, limit)
        if not candidates:
            return Batch(0)
        ids = [row.key for row in candidates]
        held = {row.key for row in candidates if row.is_held}
        needed = self._needed(connection, ids)
        going = removable(ids, held | needed, self._children(connection, ids))
        counts = {"removed": len(going), "held": len(held), "needed": len(ids) - len(going) - len(held)}
        if going:
            for table, gone in self._remove(connection, going):
                version = next((p.version for p in self._policies() if p.table == table), self.removal.policy.version)
                took_ms = int((time.monotonic() - began) * 1000)
                is_root = table == self.name
                told = counts if is_root else {}
                self._record(connection, table, version, gone, told, took_ms)
                if not is_root and gone:
                    counts[f"{table} removed"] = len(gone)
        else:
            self._record(connection, self.name, self.removal.policy.version, [], counts, 0)
        last = candidates[-1]
        return Batch(
            len(candidates),
            {name: number for name, number in counts.items() if number},
            after=(last.at, last.key) if len(candidates) == limit else None,
        )

    def _policies(self) -> Iterator[Any]:
        yield self.removal.policy
        yield from (dependent.policy for dependent in self.removal.dependents if dependent.policy)

    def _overdue(self) -> str:
        conditions = [f"r.{self.removal.policy.date_column} < :cutoff"]
        if self.has_retention_until:
            # Set when the row was made, by the rule of that day: the longer of the two wins.
            conditions.append("(r.retention_until IS NULL OR r.retention_until < (now() AT TIME ZONE 'UTC')::date)")
        if self.is_leftovers:
            conditions.append("r.status_id = (SELECT id FROM status WHERE code = 'DELETED')")
        return " AND ".join(conditions)

    def _candidates(self, connection: Connection, after: Any, limit: int) -> Sequence[Any]:
        """The next overdue rows, locked; what others have locked is left to the next night."""
        key, date = self.keys[self.name], self.removal.policy.date_column
        # Of a table that refers to itself the newer rows leave first: they refer to older ones.
        direction, beyond = ("DESC", "<") if self.removal.itself else ("ASC", ">")
        behind = f"AND (r.{date}, r.{key.column}) {beyond} (:at, CAST(:key AS {key.type}))" if after else ""
        statement = f"""
            WITH due AS MATERIALIZED (
                SELECT r.{key.column} AS key, r.{date} AS at FROM {self.name} AS r
                WHERE {self._overdue()} {behind}
                ORDER BY r.{date} {direction}, r.{key.column} {direction} LIMIT :limit
                FOR UPDATE OF r SKIP LOCKED
            )
            SELECT key, at, key::text IN (SELECT held_ids('{self.name}')) AS is_held
            FROM due
        """  # noqa: S608 - see above
        values = {"cutoff": self.cutoffs[self.name], "limit": limit}
        if after:
            values |= {"at": after[0], "key": str(after[1])}
        return connection.execute(text(statement), values).all()

    def _needed(self, connection: Connection, ids: Collection[Any]) -> set[Any]:
        """Those of `ids` that something refers to, or with which something would go that is not overdue."""
        needed: set[Any] = set()
        for blocker in self.removal.blockers:
            needed |= self._referred(connection, ids, blocker, "")
        for dependent in self.removal.dependents:
            if dependent.policy is not None:
                not_overdue = f"NOT coalesce(x.{dependent.policy.date_column} < :cutoff, false)"
                blocker = Blocker(dependent.path[0], dependent.path[1:])
                needed |= self._referred(connection, ids, blocker, not_overdue, self.cutoffs[dependent.table])
        return needed

    def _referred(
        self,
        connection: Connection,
        ids: Collection[Any],
        blocker: Blocker,
        condition: str,
        cutoff: datetime | None = None,
    ) -> set[Any]:
        reference = blocker.reference
        tables = f" FROM {reference.table} AS x"
        last, column = "x", reference.column
        for number, step in enumerate(blocker.path):
            tables += f" JOIN {step.table} AS s{number} ON s{number}.{self.keys[step.table].column} = {last}.{column}"
            last, column = f"s{number}", step.column
        statement = f"SELECT DISTINCT {last}.{column}{tables} WHERE {last}.{column} = ANY({self._array(self.name)})"
        for extra in (reference.where and f"x.{reference.where}", condition):
            statement += f" AND {extra}" if extra else ""
        values = {"ids": _as_array(ids), **({"cutoff": cutoff} if cutoff else {})}
        return set(connection.execute(text(statement), values).scalars())

    def _children(self, connection: Connection, ids: Collection[Any]) -> Mapping[Any, set[Any]]:
        children: dict[Any, set[Any]] = defaultdict(set)
        if (itself := self.removal.itself) is not None:
            statement = f"""
                SELECT {itself.column} AS parent, {self.keys[self.name].column} AS child FROM {self.name}
                WHERE {itself.column} = ANY({self._array(self.name)})
            """  # noqa: S608 - see above
            for row in connection.execute(text(statement), {"ids": _as_array(ids)}):
                children[row.parent].add(row.child)
        return children

    def _remove(self, connection: Connection, going: Collection[Any]) -> Iterator[tuple[str, list[Any]]]:
        """Deletes dependents, then the rows themselves; gives each table with the keys that left it."""
        values = {"ids": _as_array(going)}
        for dependent in self.removal.dependents:
            key = self.keys[dependent.table]
            statement = f"DELETE FROM {dependent.table} WHERE {self._belongs(dependent)} RETURNING {key.column}"  # noqa: S608 - see above
            yield dependent.table, list(connection.execute(text(statement), values).scalars())
        key = self.keys[self.name]
        # The hold is asked for once more: this is the statement that can't be taken back.
        statement = f"""
            DELETE FROM {self.name} AS r WHERE r.{key.column} = ANY({self._array(self.name)})
              AND r.{key.column}::text NOT IN (SELECT held_ids('{self.name}'))
            RETURNING r.{key.column}
        """  # noqa: S608 - see above
        gone = list(connection.execute(text(statement), values).scalars())
        if len(gone) != len(going):
            raise RuntimeError("rows that were locked and free to go did not go")
        yield self.name, gone

    def _belongs(self, dependent: Dependent) -> str:
        condition = ""
        for step in reversed(dependent.path):
            if condition:
                condition = (
                    f"{step.column} IN (SELECT {self.keys[step.parent].column} FROM {step.parent} WHERE {condition})"  # noqa: S608 - see above
                )
            else:
                condition = f"{step.column} = ANY({self._array(self.name)})"
        return condition

    def _array(self, table: str) -> str:
        return f"CAST(:ids AS {self.keys[table].type}[])"

    def _record(
        self,
        connection: Connection,
        table: str,
        version: int,
        gone: Sequence[Any],
        counts: Mapping[str, int],
        took_ms: int,
    ) -> None:
        if not gone and not any(counts.values()):
            return
        ids = sorted(gone)
        connection.execute(
            _RECORD,
            {
                "run": self.run_id,
                "table": table,
                "version": version,
                "cutoff": self.cutoffs.get(table, self.cutoffs[self.name]),
                "deleted": len(ids),
                "held": counts.get("held", 0),
                "skipped": counts.get("needed", 0),
                "first": str(ids[0]) if ids else None,
                "last": str(ids[-1]) if ids else None,
                "hash": digest(ids) if ids else None,
                "took_ms": took_ms,
            },
        )


def digest(ids: Sequence[Any]) -> str:
    """SHA-256 over the ids in ascending order, each followed by a line feed."""
    return sha256("".join(f"{id_}\n" for id_ in ids).encode()).hexdigest()


def _as_array(ids: Collection[Any]) -> str:
    """A PostgreSQL array of ids or hashes: nothing in them needs quoting."""
    return "{" + ",".join(map(str, ids)) + "}"


_RECORD = text(
    """
    INSERT INTO retention_run_items (
        run_id, table_name, policy_version, batch_number, cutoff, deleted_count, held_count, skipped_count,
        first_id, last_id, ids_sha256, duration_ms
    )
    VALUES (
        :run, CAST(:table AS text), :version,
        1 + coalesce((
            SELECT max(batch_number) FROM retention_run_items
            WHERE run_id = :run AND table_name = CAST(:table AS text)
        ), 0),
        :cutoff, :deleted, :held, :skipped, :first, :last, :hash, :took_ms
    )
    """
)
