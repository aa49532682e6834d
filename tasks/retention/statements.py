"""The two statements of a batch, written for one table from what was planned for it.

The first takes the next overdue rows; the second decides which of them can go, and removes these with all that belongs
to them. They are two so that the second sees what was committed before the rows were locked. Ids stay in the database:
they pass from one to the other as the text of an array that nobody reads.

Names of tables and columns come from the catalogue or were checked against it when the policy was saved. Large tables
are reached by `= ANY (array)` only: a join against rows whose number the planner can't know may read them whole.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tasks.retention.plan import Blocker, Dependent, Reference, Removal

_TEXTS = ("text", "character varying")


@dataclass(frozen=True, slots=True)
class Key:
    """The column of a table's primary key, and its type in SQL."""

    column: str
    type: str

    @property
    def in_order(self) -> str:
        """How the keys of removed rows are sorted: the same in every database, whatever its collation."""
        return 'key COLLATE "C"' if self.type in _TEXTS else "key"


@dataclass(frozen=True, slots=True)
class Overdue:
    """Conditions on a row `r` of the root. Both take :cutoff."""

    exactly: str
    at_most: str
    """What an index knows of it: some rows more than there are, and none has to be read for it."""


def overdue(removal: Removal, *, only_status: int | None, has_retention_until: bool) -> Overdue:
    at_most = f"r.{removal.policy.date_column} < :cutoff"
    if only_status is not None:
        # The number itself: so the planner knows how few they are, and goes by the index of the status.
        at_most += f" AND r.status_id = {only_status}"
    # Set when the row was made, by the rule of that day: the longer of the two wins.
    own_date = "(r.retention_until IS NULL OR r.retention_until < (now() AT TIME ZONE 'UTC')::date)"
    return Overdue(f"{at_most} AND {own_date}" if has_retention_until else at_most, at_most)


def count(removal: Removal, condition: str) -> str:
    """How many the next :limit overdue rows are, and those of the same date as the last; `at` is that date.

    Takes :cutoff, and as :behind the date where the last count ended, as text.
    """
    table, date = removal.policy.table, removal.policy.date_column
    return f"""
        SELECT count(*) AS number, max(at)::text AS at FROM (
            SELECT r.{date} AS at FROM {table} AS r
            WHERE {condition} AND r.{date} > CAST(:behind AS timestamptz)
            ORDER BY r.{date} FETCH FIRST (:limit) ROWS WITH TIES
        ) AS following
    """


def take(removal: Removal, key: Key, condition: str, *, is_first: bool, may_lock: bool = True) -> str:
    """Lock the next overdue rows; what others have locked is left to the next night.

    A role may lock only rows that it may change. Those of a table where it may not are never changed by anybody, and
    need no lock.

    Takes :cutoff, :limit and, for all but the first batch, :at and :key of the last row before. Gives one row: `ids`,
    the `number` of them, and `at` and `key` of the last.
    """
    table, date = removal.policy.table, removal.policy.date_column
    # Of a table that refers to itself the newer rows leave first: they refer to older ones.
    direction, beyond = ("DESC", "<") if removal.itself else ("ASC", ">")
    behind = "" if is_first else f"AND (r.{date}, r.{key.column}) {beyond} (:at, CAST(:key AS {key.type}))"
    return f"""
        WITH due AS MATERIALIZED (
            SELECT r.{key.column} AS key, r.{date} AS at FROM {table} AS r
            WHERE {condition} {behind}
            ORDER BY r.{date} {direction}, r.{key.column} {direction} LIMIT :limit
            {"FOR UPDATE OF r SKIP LOCKED" if may_lock else ""}
        )
        SELECT array_agg(key)::text AS ids, count(*) AS number,
            (array_agg(at))[count(*)] AS at, (array_agg(key))[count(*)]::text AS key
        FROM due
    """


def remove(removal: Removal, keys: Mapping[str, Key]) -> str:
    """Remove those of the taken rows that nothing keeps. What belongs to them goes first.

    Takes :ids and, for each dependent with a policy, the cutoff by that under its table's name (`cutoff_of`). Gives for
    each table, dependents first, how many rows left it, the first and the last id, and the SHA-256 over all of them in
    ascending order, each followed by a line feed; also how many of the taken rows were `held`.

    All parts see the tables as they were before any of them, and foreign keys are checked at the end. The hold is asked
    for here, in the statement that can't be taken back.
    """
    root = removal.policy.table
    kept = [_referring(removal, keys, blocker) for blocker in removal.blockers]
    kept += [
        _referring(
            removal, keys, Blocker(dependent.path[0], dependent.path[1:]),
            f"NOT coalesce(x.{dependent.policy.date_column} < :{cutoff_of(dependent.table)}, false)",
        )
        for dependent in removal.dependents
        if dependent.policy is not None
    ]  # fmt: skip
    if removal.itself is not None:
        kept += _kept_by_their_own(removal.itself, keys[root])
    gone = {dependent.table: _belonging(dependent, keys) for dependent in removal.dependents}
    gone[root] = f"{keys[root].column} = ANY ((SELECT ids FROM going)::{keys[root].type}[])"
    deletions = [
        f"gone_{number} AS (DELETE FROM {table} WHERE {which} RETURNING {keys[table].column} AS key)"
        for number, (table, which) in enumerate(gone.items())
    ]
    counts = [
        f"SELECT {number} AS number, '{table}' AS table_name, {_REMOVED.format(order=keys[table].in_order)},"
        f" (SELECT count(*) FROM held) AS held FROM gone_{number}"
        for number, table in enumerate(gone)
    ]
    return f"""
        WITH RECURSIVE taken AS MATERIALIZED (
            SELECT CAST(:ids AS {keys[root].type}[]) AS ids
        ), due AS MATERIALIZED (
            SELECT unnest(ids) AS key FROM taken
        ), held AS MATERIALIZED (
            SELECT key FROM due WHERE key::text IN (SELECT held_ids('{root}'))
        ), staying (key) AS (
            SELECT key FROM held
            {" ".join(f"UNION {query}" for query in kept)}
        ), going AS MATERIALIZED (
            SELECT array_agg(key) AS ids FROM due WHERE key NOT IN (SELECT key FROM staying)
        ), {", ".join(deletions)}
        {" UNION ALL ".join(counts)}
        ORDER BY number
    """


_REMOVED = """count(*) AS removed,
    (array_agg(key ORDER BY {order}))[1]::text AS first_id,
    (array_agg(key ORDER BY {order}))[count(*)]::text AS last_id,
    encode(sha256(convert_to(string_agg(key::text || E'\\n', '' ORDER BY {order}), 'UTF8')), 'hex') AS ids_sha256"""


def cutoff_of(table: str) -> str:
    """The name of the parameter with a dependent's cutoff."""
    return f"cutoff_of_{table}"


def _referring(removal: Removal, keys: Mapping[str, Key], blocker: Blocker, condition: str = "") -> str:
    """Those of the taken rows that a row keeps, directly or through dependents."""
    reference = blocker.reference
    tables = f"{reference.table} AS x"
    last, column = "x", reference.column
    for number, step in enumerate(blocker.path):
        tables += f" JOIN {step.table} AS s{number} ON s{number}.{keys[step.table].column} = {last}.{column}"
        last, column = f"s{number}", step.column
    conditions = [f"{last}.{column} = ANY ((SELECT ids FROM taken)::{keys[removal.policy.table].type}[])"]
    if reference.where:
        conditions.append(f"x.{reference.where}")
    if condition:
        conditions.append(condition)
    return f"SELECT {last}.{column} FROM {tables} WHERE {' AND '.join(conditions)}"


def _kept_by_their_own(itself: Reference, key: Key) -> Collection[str]:
    """Of a table that refers to itself: what rows that were not taken refer to, and what rows that stay refer to."""
    table, column = itself.table, itself.column
    taken = f"(SELECT ids FROM taken)::{key.type}[]"
    return (
        f"SELECT {column} FROM {table} WHERE {column} = ANY ({taken}) AND {key.column} <> ALL ({taken})",
        f"SELECT c.{column} FROM staying JOIN {table} AS c ON c.{key.column} = staying.key"
        f" WHERE c.{column} IS NOT NULL",
    )


def _belonging(dependent: Dependent, keys: Mapping[str, Key]) -> str:
    """The condition on a dependent's rows: those that lead to a row that goes."""
    condition = ""
    for step in reversed(dependent.path):
        if condition:
            condition = f"{step.column} IN (SELECT {keys[step.parent].column} FROM {step.parent} WHERE {condition})"
        else:
            condition = f"{step.column} = ANY ((SELECT ids FROM going)::{keys[step.parent].type}[])"
    return condition
