"""Rows, compiled once, and a document: which values go where, and what did not fit.

A field that fails is left alone and noted; the others go on. Nothing here knows an API, a database or the time of day.
"""

from collections.abc import Callable, Iterable
from datetime import date
from typing import Any

from worker.configuration.field_mapping import paths
from worker.configuration.field_mapping.problems import BadRule, Unfit
from worker.configuration.field_mapping.targets import Target
from worker.configuration.field_mapping.transforms import Rules, compile_transformation, concat_of, text_of
from worker.configuration.field_mapping.validations import compile_validation
from worker.values import value

Values = dict[str, dict[str, str | int]]
"""Columns to write, by table. A field without a value is not there: nothing is ever overwritten with nothing."""


@value
class Row:
    """The active version of one mapping. `is_deprecated`: the provider has announced that the node will go.

    `target` is None where the row names a column that may not be mapped.
    """

    mapping_id: int
    path: str
    target: Target | None
    transformation: Rules | None = None
    validation: Rules | None = None
    is_deprecated: bool = False


@value
class Note:
    """A node and a word about it, never its value."""

    path: str
    word: str


@value(repr=False)
class Mapped:
    """What a document gives."""

    values: Values
    notes: tuple[Note, ...] = ()


@value
class _Source:
    path: str
    read: Callable[[Any], Any]
    transform: Callable[[Any], Any]
    validate: Callable[[Any, date], None]
    is_deprecated: bool


@value
class FieldMap:
    """All that is mapped in one scope from one place of the document."""

    fields: tuple[tuple[Target, tuple[_Source, ...]], ...] = ()
    required: tuple[tuple[str, paths.Get], ...] = ()
    broken: tuple[Note, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.fields or self.required or self.broken)

    def apply(self, document: Any, today: date) -> Mapped:
        """The values for our columns. Never raises, whatever the document holds."""
        values: Values = {}
        notes = list(self.broken)
        for target, sources in self.fields:
            for source in sources:
                try:
                    value = source.transform(source.read(document))
                    source.validate(value, today)
                    fitted = None if value is None or value == "" else target.fit(value)
                except Unfit as problem:
                    notes.append(Note(source.path, problem.word))
                    continue
                if fitted is None:
                    continue
                if source.is_deprecated:
                    notes.append(Note(source.path, "deprecated_node"))
                values.setdefault(target.table, {})[target.column] = fitted
                break
        noted = {note.path for note in notes}
        for path, get in self.required:
            if path not in noted and get(document) in (None, ""):
                notes.append(Note(path, "missing"))
        return Mapped(values, tuple(notes))


NO_MAP = FieldMap()


def compile_map(rows: Iterable[Row], required: Iterable[str] = (), root: str = "") -> FieldMap:
    """The map of these rows, as seen from `root`, a place such as `vehicles[]` of which each item is one document.

    Rows with the same target stand in for each other, in the order given: the first with a value is taken. Seen from
    the top, a path through a list counts only with an `array` rule; the others are for those who enter that list.
    `required` are nodes that every such document should have. A row with a broken rule becomes a note in every answer.
    """
    fields: dict[Target, list[_Source]] = {}
    broken = []
    for row in rows:
        below = paths.below(row.path, root)
        if below is None or (paths.enters_list(below) and "array" not in (row.transformation or {})):
            continue
        try:
            target, source = _compiled(row, below, root)
        except BadRule:
            broken.append(Note(row.path, "bad_rule"))
            continue
        fields.setdefault(target, []).append(source)
    needed = ((path, paths.below(path, root)) for path in required)
    return FieldMap(
        tuple((target, tuple(sources)) for target, sources in fields.items()),
        tuple((path, paths.getter(below)) for path, below in needed if below and not paths.enters_list(below)),
        tuple(broken),
    )


def check_row(row: Row) -> None:
    """Raises `BadRule` where the row can't be compiled."""
    if not paths.is_path(row.path):
        raise BadRule(f"{row.path!r} is not the path of a node")
    _compiled(row, row.path, "")


def _compiled(row: Row, below: str, root: str) -> tuple[Target, _Source]:
    if row.target is None:
        raise BadRule("the target is not among the columns that may be mapped")
    concat = concat_of(row.transformation)
    read = paths.getter(below) if concat is None else _joined(*concat, root)
    transform = compile_transformation(row.transformation)
    validate = compile_validation(row.validation)
    default = (row.transformation or {}).get("default")
    if default is not None:
        _check_default(row.target, default)
    return row.target, _Source(row.path, read, transform, validate, row.is_deprecated)


def _check_default(target: Target, default: Any) -> None:
    """A default that its own column refuses would fail in every answer without a value."""
    try:
        target.fit(default)
    except Unfit as problem:
        raise BadRule(f"the default does not fit into {target}: {problem.word}") from None


def _joined(nodes: tuple[str, ...], separator: str, root: str) -> Callable[[Any], Any]:
    below = [paths.below(node, root) for node in nodes]
    if None in below:
        raise BadRule("concat joins nodes of one place only")
    gets = [paths.getter(path) for path in below if path]

    def read(document: Any) -> str | None:
        parts = (text_of(value).strip() for get in gets if (value := get(document)) is not None)
        return separator.join(part for part in parts if part) or None

    return read
