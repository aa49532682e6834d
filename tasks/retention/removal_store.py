"""Removes one table's overdue rows, with all that belongs to them, and records each batch in its own transaction."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from tasks.retention import guard_store, statements
from tasks.retention.plan import Removal
from tasks.retention.statements import Key, Overdue, cutoff_of
from worker.maintenance.stages import Batch, Problem


@dataclass(frozen=True, slots=True)
class OverdueRows:
    """The stage of one policy. `cutoffs` says for each table with a policy which rows are overdue: those before it."""

    removal: Removal
    keys: Mapping[str, Key]
    cutoffs: Mapping[str, datetime]
    run_id: UUID
    is_overdue: Overdue
    may_lock: bool
    """Whether this role may lock the table's rows."""

    is_confirmed: bool
    """Whether a person has said that it may be as many as it is."""

    @property
    def name(self) -> str:
        return self.removal.policy.table

    @property
    def most(self) -> int:
        return self.removal.policy.batch_size

    def size(self, connection: Connection) -> int | Problem:
        cutoff = self.cutoffs[self.name]
        at_most = guard_store.count(connection, self.removal, self.is_overdue.at_most, cutoff)
        if self.is_confirmed or guard_store.refusal(connection, self.removal.policy, at_most) is None:
            return at_most
        overdue = guard_store.count(connection, self.removal, self.is_overdue.exactly, cutoff)
        return guard_store.refusal(connection, self.removal.policy, overdue) or overdue

    def batch(self, connection: Connection, after: Any, limit: int) -> Batch:
        began = time.monotonic()
        connection.execute(text("SELECT lock_legal_holds()"))
        taken = self._take(connection, after, limit)
        if not taken.number:
            return Batch(0)
        gone = self._remove(connection, taken.ids)
        root = gone[-1]
        counts = {"removed": root.removed, "held": root.held, "needed": taken.number - root.removed - root.held}
        self._record(connection, gone, counts["needed"], int((time.monotonic() - began) * 1000))
        counts |= {f"{table.table_name} removed": table.removed for table in gone[:-1]}
        return Batch(
            taken.number,
            {name: number for name, number in counts.items() if number},
            after=(taken.at, taken.key) if taken.number == limit else None,
        )

    def _take(self, connection: Connection, after: Any, limit: int) -> Any:
        key = self.keys[self.name]
        statement = statements.take(
            self.removal, key, self.is_overdue.exactly, is_first=after is None, may_lock=self.may_lock
        )
        values = {"cutoff": self.cutoffs[self.name], "limit": limit}
        if after is not None:
            values |= {"at": after[0], "key": after[1]}
        return connection.execute(text(statement), values).one()

    def _remove(self, connection: Connection, ids: str) -> Sequence[Any]:
        """What left each table; the last row tells of the root."""
        cutoffs = {cutoff_of(d.table): self.cutoffs[d.table] for d in self.removal.dependents if d.policy is not None}
        return connection.execute(text(statements.remove(self.removal, self.keys)), {"ids": ids, **cutoffs}).all()

    def _record(self, connection: Connection, gone: Sequence[Any], needed: int, took_ms: int) -> None:
        """A row for each table that something left, and for the root also where nothing did."""
        versions = {d.table: d.policy.version for d in self.removal.dependents if d.policy is not None}
        connection.execute(
            _RECORD,
            [
                {
                    "run": self.run_id,
                    "table": left.table_name,
                    "version": versions.get(left.table_name, self.removal.policy.version),
                    "cutoff": self.cutoffs.get(left.table_name, self.cutoffs[self.name]),
                    "deleted": left.removed,
                    "held": left.held if left.table_name == self.name else 0,
                    "skipped": needed if left.table_name == self.name else 0,
                    "first": left.first_id,
                    "last": left.last_id,
                    "hash": left.ids_sha256,
                    "took_ms": took_ms,
                }
                for left in gone
                if left.removed or left.table_name == self.name
            ],
        )


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
