"""From a document to values for columns: every field for itself, and none that breaks the others."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.configuration.field_mapping import paths
from worker.configuration.field_mapping.compiled import NO_MAP, Note, Row, check_row, compile_map
from worker.configuration.field_mapping.problems import BadRule
from worker.configuration.field_mapping.rehearsal import rehearse
from worker.configuration.field_mapping.targets import Target

TODAY = date(2026, 1, 15)
MAKE = Target("vehicle", "make", "text", 5)
YEAR = Target("vehicle", "model_year", "integer")
CITY = Target("address", "city", "text", 100)
STATE = Target("address", "state", "state")
ISSUED = Target("license", "issue_date", "date")


def row(path: str, target: Target | None = CITY, number: int = 1, **others: Any) -> Row:
    return Row(number, path, target, **others)


def applied(rows: list[Row], document: Any, **options: Any) -> tuple[Any, set[tuple[str, str]]]:
    mapped = compile_map(rows, **options).apply(document, TODAY)
    return mapped.values, {(note.path, note.word) for note in mapped.notes}


def test_values_land_in_their_columns_in_their_types() -> None:
    rows = [
        row("a.city", CITY, transformation={"trim": True, "titlecase": True}),
        row("a.state", STATE, transformation={"uppercase": True}),
        row("issued", ISSUED),
        row("v.year", YEAR),
        row("v.make", MAKE),
    ]
    document = {"a": {"city": " AUSTIN ", "state": "tx"}, "issued": "05/15/2020", "v": {"year": "2019", "make": None}}
    values, notes = applied(rows, document)
    assert values == {
        "address": {"city": "Austin", "state": "TX"},
        "license": {"issue_date": "2020-05-15"},
        "vehicle": {"model_year": 2019},
    }
    assert notes == set()


@pytest.mark.parametrize(
    ("target", "value", "word"),
    [
        (MAKE, "Studebaker", "too_long"),
        (MAKE, {"a": 1}, "not_text"),
        (YEAR, "new", "not_an_integer"),
        (YEAR, 2**31, "too_large"),
        (STATE, "Texas", "not_a_state"),
        (STATE, "tx", "not_a_state"),
        (ISSUED, "soon", "not_a_date"),
        (ISSUED, "0001-01-01", "not_a_date"),
    ],
)
def test_a_value_that_its_column_can_t_hold_fails_that_field_alone(target: Target, value: Any, word: str) -> None:
    values, notes = applied([row("bad", target), row("good")], {"bad": value, "good": "Austin"})
    assert values == {"address": {"city": "Austin"}}
    assert notes == {("bad", word)}


@pytest.mark.parametrize("nothing", [None, "", "absent"])
def test_nothing_is_never_written_over_something(nothing: Any) -> None:
    document = {} if nothing == "absent" else {"a": nothing}
    assert applied([row("a")], document) == ({}, set())
    assert applied([row("a", validation={"required": True})], document) == ({}, {("a", "required")})
    assert applied([row("a")], document, required=["a"]) == ({}, {("a", "missing")})


def test_rows_with_one_target_stand_in_for_each_other() -> None:
    rows = [row("new", number=1, validation={"max_length": 3}), row("old", number=2)]
    assert applied(rows, {"new": "abc", "old": "def"})[0] == {"address": {"city": "abc"}}
    assert applied(rows, {"old": "def"}) == ({"address": {"city": "def"}}, set())
    assert applied(rows, {"new": "abcd", "old": "def"}) == ({"address": {"city": "def"}}, {("new", "max_length")})


def test_a_deprecated_node_still_counts_and_says_so_when_it_is_used() -> None:
    rows = [row("new", number=1), row("old", number=2, is_deprecated=True)]
    assert applied(rows, {"new": "a", "old": "b"}) == ({"address": {"city": "a"}}, set())
    assert applied(rows, {"old": "b"}) == ({"address": {"city": "b"}}, {("old", "deprecated_node")})


@pytest.mark.parametrize(
    "broken",
    [
        row("a", transformation={"upper": True}),
        row("a", validation={"pattern": "("}),
        row("a", target=None),
        row("a", STATE, transformation={"default": "Texas"}),
        row("a", transformation={"concat": {"nodes": ["a"]}}),
    ],
    ids=str,
)
def test_a_broken_row_is_a_note_in_the_answer_and_the_others_go_on(broken: Row) -> None:
    with pytest.raises(BadRule):
        check_row(broken)
    assert applied([broken, row("b", MAKE)], {"a": "x", "b": "Ford"}) == (
        {"vehicle": {"make": "Ford"}},
        {("a", "bad_rule")},
    )


def test_concat_joins_what_is_there() -> None:
    rows = [row("a.x", transformation={"concat": {"nodes": ["a.x", "a.y", "b"], "separator": "-"}})]
    assert applied(rows, {"a": {"x": "1", "y": " 2 "}, "b": 3})[0] == {"address": {"city": "1-2-3"}}
    assert applied(rows, {"a": {"y": "2"}})[0] == {"address": {"city": "2"}}
    assert applied(rows, {}) == ({}, set())
    assert applied(rows, {"a": {"x": ["1"]}}) == ({}, {("a.x", "not_text")})


VEHICLES = {"vehicles": [{"data": {"make": "Ford", "colors": ["red", "blue"]}}, {"data": {"make": "Fiat"}}, None, 7]}


def test_from_the_top_a_list_is_reduced_by_its_rule_and_left_out_without_one() -> None:
    make = row("vehicles[].data.make", MAKE, transformation={"array": "last"})
    assert applied([make], VEHICLES)[0] == {"vehicle": {"make": "Fiat"}}
    joined = row("vehicles[].data.colors[]", CITY, transformation={"array": {"join": "+"}})
    assert applied([joined], VEHICLES)[0] == {"address": {"city": "red+blue"}}
    assert applied([row("vehicles[].data.make", MAKE)], VEHICLES) == ({}, set())
    assert applied([make], {"vehicles": "none"}) == ({}, set())


def test_from_within_a_list_each_item_is_a_document() -> None:
    rows = [
        row("vehicles[].data.make", MAKE, 1),
        row(
            "vehicles[].data.make",
            CITY,
            2,
            transformation={"concat": {"nodes": ["vehicles[].data.make", "vehicles[].data.model"]}},
        ),
        row("other", CITY, 3),
    ]
    field_map = compile_map(rows, ["vehicles[].data.vin", "other"], root="vehicles[]")
    mapped = field_map.apply(VEHICLES["vehicles"][0], TODAY)
    assert mapped.values == {"vehicle": {"make": "Ford"}, "address": {"city": "Ford"}}
    assert mapped.notes == (Note("vehicles[].data.vin", "missing"),)
    outside = row("a", transformation={"concat": {"nodes": ["vehicles[].x", "a"]}})
    assert compile_map([outside], root="vehicles[]").broken == ()
    inside = row("vehicles[].x", transformation={"concat": {"nodes": ["vehicles[].x", "a"]}})
    assert compile_map([inside], root="vehicles[]").broken == (Note("vehicles[].x", "bad_rule"),)


def test_a_rehearsal_tells_each_field_and_shows_lengths() -> None:
    rows = [row("city"), row("state", STATE), row("make", MAKE)]
    told = rehearse(compile_map(rows, ["vin"]), {"city": "Austin", "state": "Texas"}, TODAY)
    assert [(one.target, one.verdict, one.length) for one in told] == [
        ("address.city", "written", 6),
        ("address.state", "not_a_state", None),
        ("vehicle.make", "nothing", None),
        ("", "missing", None),
    ]


def test_no_rows_cost_nothing_and_give_nothing() -> None:
    assert not NO_MAP
    assert NO_MAP.apply({"a": 1}, TODAY).values == {}


@pytest.mark.parametrize("path", ["a", "a.b", "a[].b", "a[]", "a_b.c-d"])
def test_paths(path: str) -> None:
    assert paths.is_path(path)


@pytest.mark.parametrize("path", ["", ".", "a.", ".a", "a b", "a[0]", "[]", "a..b", "a['b']", "ä", "a" * 256, "a\n"])
def test_what_is_no_path(path: str) -> None:
    assert not paths.is_path(path)


NAMES = st.sampled_from(["a", "b", "c"])
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)
PATHS = st.lists(NAMES.flatmap(lambda name: st.sampled_from([name, f"{name}[]"])), min_size=1, max_size=3).map(".".join)
ROWS = st.builds(
    row,
    PATHS,
    st.sampled_from([MAKE, YEAR, CITY, STATE, ISSUED]),
    transformation=st.sampled_from(
        [None, {"array": "first"}, {"uppercase": True}, {"lookup": {"a": "b"}}, {"nope": 1}]
    ),
    validation=st.sampled_from([None, {"required": True}, {"max_length": 2}, {"pattern": "^a"}, {"min": 3}]),
)


@given(st.lists(ROWS, max_size=6), DOCUMENTS)
def test_no_document_breaks_a_map_and_each_value_fits_its_column(rows: list[Row], document: Any) -> None:
    mapped = compile_map(rows, ["a.b"]).apply(document, TODAY)
    targets = {(r.target.table, r.target.column): r.target for r in rows if r.target}
    for table, columns in mapped.values.items():
        for column, value in columns.items():
            assert targets[table, column].fit(value) == value
    known = {r.path for r in rows} | {"a.b"}
    assert all(note.path in known and note.word for note in mapped.notes)


@given(st.lists(ROWS, max_size=6, unique_by=lambda r: r.target), DOCUMENTS)
def test_a_field_comes_out_the_same_whatever_stands_beside_it(rows: list[Row], document: Any) -> None:
    together = compile_map(rows).apply(document, TODAY).values
    alone: dict[str, Any] = {}
    for one in rows:
        for table, columns in compile_map([one]).apply(document, TODAY).values.items():
            alone.setdefault(table, {}).update(columns)
    assert together == alone
