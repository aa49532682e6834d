"""Every item of the two founding designs, one row each in `seed_checklist.tsv`, held against a migrated database.

A row's `check` says how it is proved: by the catalogue here, by a named test, or not at all because the project leaves
it to others (`outside`). No row is without one.
"""

import ast
import csv
import json
import re
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
from psycopg import sql

from models.base import CHOICE_LENGTH
from tests.migrations.catalogue import Catalogue

ROOT = Path(__file__).parents[2]

OUTSIDE = {"not a background job", "a description"}


class Item(NamedTuple):
    id: str
    kind: str
    check: str
    subject: str
    expected: str

    @property
    def names(self) -> list[str]:
        return self.expected.split(", ")

    @property
    def column(self) -> tuple[str, str]:
        table, column = self.subject.split(".")
        return table, column


def read_items() -> list[Item]:
    with (Path(__file__).parent / "seed_checklist.tsv").open(newline="") as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        next(rows)
        return [Item(*(row + [""] * (5 - len(row)))) for row in rows]


ITEMS = read_items()


def items(check: str) -> pytest.MarkDecorator:
    """Parametrize with the rows of one check, each under its id."""
    return pytest.mark.parametrize("item", [pytest.param(i, id=i.id) for i in ITEMS if i.check == check])


def test_the_list_is_complete_and_every_row_is_checked() -> None:
    sections = Counter(item.id.split("-")[0] for item in ITEMS)
    assert sections == {"C": 22, "S1": 356, "S2": 247, "X": 15}
    assert len({item.id for item in ITEMS}) == len(ITEMS) == 640
    walked = set(re.findall(r'^@items\("(.+)"\)', Path(__file__).read_text(), re.MULTILINE))
    assert {item.check for item in ITEMS} == walked


def test_kinds_are_counted() -> None:
    kinds = Counter((item.id.split("-")[0], item.kind) for item in ITEMS)
    assert kinds["S1", "fk"] == 37
    assert kinds["S1", "type-value"] == 56
    assert kinds["S1", "index"] == 47
    assert kinds["S1", "unique"] == 5
    assert kinds["S1", "sample row"] == 15
    assert kinds["S2", "function"] == 6


@items("package")
def test_package_is_installed(item: Item, owner: psycopg.Connection) -> None:
    found = str(owner.info.server_version / 10000) if item.subject == "server" else version(item.subject)
    wanted = [int(part) for part in item.expected.split(".")]
    assert [int(part) for part in found.split(".")[: len(wanted)]] >= wanted


@items("table")
def test_table_exists_with_its_key(item: Item, catalogue: Catalogue) -> None:
    expected = dict(pair.split(" ") for pair in item.names)
    assert catalogue.primary_key(item.subject) == list(expected)
    assert {name: catalogue.columns[item.subject, name].type for name in expected} == expected


@items("has tables")
def test_tables_exist(item: Item, catalogue: Catalogue) -> None:
    assert set(item.names) <= catalogue.tables


@items("no table")
def test_there_is_no_such_table(item: Item, catalogue: Catalogue) -> None:
    assert item.subject not in catalogue.tables


@items("column")
def test_column_has_type_nullability_and_default(item: Item, catalogue: Catalogue) -> None:
    type_, nullability, *default = item.expected.split("; ")
    column = catalogue.columns[item.column]
    if type_ == "choice":
        assert column.type == f"varchar({CHOICE_LENGTH})"
        assert choice_check(catalogue, item)
    else:
        assert column.type == type_.removesuffix(" identity")
    assert column.identity == type_.endswith(" identity")
    assert ("null" if column.nullable else "not null") == nullability
    found = column.default and column.default.removesuffix("::character varying").removesuffix("::bpchar")
    assert found == (default[0].removeprefix("default ") if default else None)


def choice_check(catalogue: Catalogue, item: Item) -> str:
    """The CHECK of a column that takes words of a closed list, as an expression over the column's name."""
    table, column = item.column
    return catalogue.constraints[table, f"ck_{table}_{column}"].removeprefix("CHECK ")


@items("value")
def test_value_is_accepted_and_another_refused(item: Item, catalogue: Catalogue, owner: psycopg.Connection) -> None:
    question = sql.SQL("SELECT {check} FROM (SELECT %s::varchar AS {column}) AS row").format(
        check=sql.SQL(choice_check(catalogue, item)),
        column=sql.Identifier(item.column[1]),
    )
    assert owner.execute(question, [item.expected]).fetchone() == (True,)
    assert owner.execute(question, [f"{item.expected}?"]).fetchone() == (False,)


@items("foreign key")
def test_foreign_key_points_at_its_table(item: Item, catalogue: Catalogue) -> None:
    assert catalogue.foreign_keys()[item.column] == item.expected


@items("no foreign key")
def test_there_is_no_foreign_key(item: Item, catalogue: Catalogue) -> None:
    assert item.column in catalogue.columns
    assert item.column not in catalogue.foreign_keys()


@items("roots")
def test_roots_depend_on_nothing(item: Item, catalogue: Catalogue) -> None:
    assert set(item.names) <= catalogue.tables
    assert set(item.names).isdisjoint(table for table, _ in catalogue.foreign_keys())


@items("index")
def test_index_has_its_columns(item: Item, catalogue: Catalogue) -> None:
    table = re.sub(r"^unique ", "", item.expected).split(" ")[0]
    found = catalogue.indexes[table, item.subject]
    plain = re.sub(r"CREATE( UNIQUE)? INDEX \w+ ON public\.| USING btree|\)?::text|::character varying", "", found)
    plain = plain.replace("USING gin", "using gin").replace("NULLS NOT DISTINCT", "nulls not distinct")
    plain = (
        plain.replace(" WHERE ", " where ").replace("((action", "(action").replace("(lower((email)", "(lower(email)")
    )
    assert plain == item.expected.removeprefix("unique ")
    assert found.startswith("CREATE UNIQUE") == item.expected.startswith("unique ")


@items("has indexes")
def test_indexes_exist(item: Item, catalogue: Catalogue) -> None:
    assert set(item.names) <= {name for _, name in catalogue.indexes}


@items("has columns")
def test_columns_exist(item: Item, catalogue: Catalogue) -> None:
    assert {(item.subject, name) for name in item.names} <= catalogue.columns.keys()


@items("row")
def test_sample_row_is_loaded(item: Item, owner: psycopg.Connection) -> None:
    row = json.loads(item.expected)
    question = sql.SQL("""
        SELECT {columns}, status.code, users.role FROM {table} t
          JOIN status ON status.id = t.status_id JOIN users ON users.id = t.created_by
         WHERE t.{key} = %s""").format(
        columns=sql.SQL(", ").join(sql.Identifier("t", name) for name in row),
        table=sql.Identifier(item.subject),
        key=sql.Identifier(next(iter(row))),
    )
    assert owner.execute(question, [next(iter(row.values()))]).fetchall() == [(*row.values(), "ACTIVE", "system")]


@items("function")
def test_function_has_its_signature(item: Item, owner: psycopg.Connection) -> None:
    question = """SELECT '(' || pg_get_function_arguments(oid) || ') returns ' || prorettype::regtype
                    FROM pg_proc WHERE proname = %s AND pronamespace = 'public'::regnamespace"""
    assert owner.execute(question, [item.subject]).fetchall() == [(item.expected,)]


@items("updated_at trigger")
def test_updated_at_is_kept_by_a_trigger(item: Item, catalogue: Catalogue) -> None:
    assert (item.subject, f"trg_{item.subject}_updated_at") in catalogue.triggers


@items("test")
def test_named_test_exists(item: Item) -> None:
    path, name = item.expected.split("::")
    functions = [node.name for node in ast.parse((ROOT / path).read_text()).body if isinstance(node, ast.FunctionDef)]
    assert name in functions


@items("outside")
def test_reason_is_known(item: Item) -> None:
    assert item.expected in OUTSIDE
