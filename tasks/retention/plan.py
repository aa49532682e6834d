"""What leaves with what, and in which order: decided from the policies and the catalogue's foreign keys.

A table with a policy is a root. With its rows go those of the tables that belong to it, as the models say; if such a
table has a policy too, only once its rows are overdue by that as well, so that the longest rule wins. Whatever else
refers to a row keeps it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

OnDelete = Literal["a", "r", "c", "n", "d"]
"""NO ACTION, RESTRICT, CASCADE, SET NULL, SET DEFAULT, in the catalogue's letters."""


@dataclass(frozen=True, slots=True)
class Reference:
    """`table.column` refers to the key of `parent`. `where` narrows references that no foreign key can express."""

    table: str
    column: str
    parent: str
    on_delete: OnDelete = "a"
    is_required: bool = False
    where: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """A row of `data_retention_policies` that is in force."""

    table: str
    version: int
    days: int
    date_column: str
    batch_size: int
    max_share: float


@dataclass(frozen=True, slots=True)
class Dependent:
    """Rows that leave with their root's, found through `path`: references from the table itself up to the root.

    `policy` is their own, if they have one: then a row that is not overdue by it keeps its root.
    """

    path: tuple[Reference, ...]
    policy: Policy | None = None

    @property
    def table(self) -> str:
        return self.path[0].table


@dataclass(frozen=True, slots=True)
class Blocker:
    """Rows that keep their root: `reference` points at the root, or at the dependent from which `path` leads to it."""

    reference: Reference
    path: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class Removal:
    """How the overdue rows of one root leave. `dependents` are in the order in which they are deleted."""

    policy: Policy
    dependents: tuple[Dependent, ...]
    blockers: tuple[Blocker, ...]
    itself: Reference | None
    """A reference of the table to itself: newer rows then leave before the older ones they refer to."""


def removals(
    policies: Collection[Policy],
    references: Collection[Reference],
    belongs_to: Mapping[str, str],
    switched_off: Collection[str] = (),
) -> list[Removal]:
    """A removal for each policy, children before parents.

    `belongs_to` names the table whose rows a table's leave with; rows of a table in `switched_off` leave with nothing.
    """
    by_table = {policy.table: policy for policy in policies}
    going = {child: parent for child, parent in belongs_to.items() if child not in switched_off}
    return [_removal(by_table[table], by_table, references, going) for table in children_first(by_table, references)]


def children_first(tables: Collection[str], references: Collection[Reference]) -> list[str]:
    """The tables in an order in which each comes before those it refers to; ties by name. Circles are broken."""
    parents = {table: {r.parent for r in references if r.table == table and r.parent in tables} for table in tables}
    ordered: list[str] = []
    path: list[str] = []

    def visit(table: str) -> None:
        if table in ordered or table in path:
            return
        path.append(table)
        for child in sorted(tables):
            if table in parents[child]:
                visit(child)
        ordered.append(path.pop())

    for table in sorted(tables):
        visit(table)
    return ordered


def _removal(
    policy: Policy,
    policies: Mapping[str, Policy],
    references: Collection[Reference],
    belongs_to: Mapping[str, str],
) -> Removal:
    """Walks down from the root; what refers to it, or to a dependent, either goes along or keeps it."""
    dependents: list[Dependent] = []
    blockers: list[Blocker] = []
    itself: Reference | None = None
    going = {policy.table}

    def descend(table: str, path: tuple[Reference, ...]) -> None:
        nonlocal itself
        for reference in sorted((r for r in references if r.parent == table), key=lambda r: (r.table, r.column)):
            child = reference.table
            if child == table == policy.table:
                itself = reference
            elif belongs_to.get(child) == table and child not in going and not reference.where:
                going.add(child)
                descend(child, (reference, *path))
                dependents.append(Dependent((reference, *path), policies.get(child)))
            elif reference.on_delete not in ("n", "d"):
                blockers.append(Blocker(reference, path))

    descend(policy.table, ())
    return Removal(policy, tuple(dependents), tuple(blockers), itself)


def is_too_much(overdue: int, total: int, max_share: float, *, floor: int) -> bool:
    """Whether a run would remove more of a table than it may without a person's consent; small numbers never are."""
    return overdue > floor and overdue > total * max_share
