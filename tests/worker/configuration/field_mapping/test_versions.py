"""Mappings as rows: who may change them, what stays of the old ones, which one counts for whom, and how soon."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import product
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from models import Base
from models.facts import is_mappable
from models.users import SYSTEM_USER_ID
from tests.waiting import in_thread, until
from tests.worker.integration_rows import add_producer, add_program, add_user, grant, integration
from worker.configuration.field_mapping import nodes, rehearsal, versions
from worker.configuration.field_mapping.compiled import FieldMap
from worker.configuration.field_mapping.rulebook import Rulebooks
from worker.database import Database
from worker.errors import BadRequest
from worker.permissions import Actor, Scope

SYSTEM = Actor(SYSTEM_USER_ID)
STATUS = "driver_data.license_info.status"
NUMBER = "driver_data.license_info.license_number"
TYPE = "license.license_type"
TODAY = date(2026, 1, 15)


@dataclass
class Platform:
    """One integration, two programs and two producers."""

    db: Database
    scope: Scope
    programs: tuple[int, int]
    producers: tuple[int, int]

    def add(self, scope: Scope | None = None, node: str = STATUS, target: str = TYPE, **rules: Any) -> int:
        with self.db.transaction() as connection:
            return versions.add(connection, SYSTEM, scope or self.scope, node, target, **rules)

    def replace(self, mapping_id: int, **rules: Any) -> int:
        with self.db.transaction() as connection:
            return versions.replace(connection, SYSTEM, mapping_id, **rules)

    def retire(self, mapping_id: int) -> None:
        with self.db.transaction() as connection:
            versions.retire(connection, SYSTEM, mapping_id)

    def history(self) -> list[tuple[int, int, bool, int | None]]:
        with self.db.transaction() as connection:
            found = versions.versions(connection, self.scope.integration_id, all_versions=True)
        return [(one.id, one.version, one.is_active, one.replaced_id) for one in found]


@pytest.fixture
def platform(db: Database) -> Platform:
    with db.transaction() as connection:
        programs = add_program(connection, "P1"), add_program(connection, "P2")
        producers = add_producer(connection, "R1"), add_producer(connection, "R2")
        return Platform(db, Scope(integration(connection)), programs, producers)


def written(field_map: FieldMap, said: str = "valid") -> Any:
    document = {"driver_data": {"license_info": {"status": said, "license_number": "X1"}}}
    return field_map.apply(document, TODAY).values.get("license", {}).get("license_type")


def test_a_new_version_replaces_the_old_one_which_stays(platform: Platform) -> None:
    first = platform.add(transformation={"uppercase": True})
    second = platform.replace(first, transformation={"lowercase": True})
    third = platform.replace(second, node=NUMBER)
    assert platform.history() == [(first, 1, False, None), (second, 2, False, first), (third, 3, True, second)]
    platform.retire(third)
    again = platform.add()
    assert platform.history()[-2:] == [(third, 3, False, second), (again, 4, True, third)]
    with platform.db.transaction() as connection:
        kept = versions.version(connection, first)
        trail = connection.execute(
            text(
                "SELECT action, resource_id, user_id, details FROM audit_logs"
                " WHERE action NOT LIKE 'configuration.%' ORDER BY created_at, resource_id"
            )
        ).all()
    assert (kept.transformation, kept.node, kept.target) == ({"uppercase": True}, STATUS, TYPE)
    assert [(row.action, row.resource_id) for row in trail] == [
        ("integration.mapping_added", str(first)),
        ("integration.mapping_replaced", str(second)),
        ("integration.mapping_replaced", str(third)),
        ("integration.mapping_retired", str(third)),
        ("integration.mapping_replaced", str(again)),
    ]
    assert {row.user_id for row in trail} == {SYSTEM_USER_ID}
    assert trail[0].details["version"] == 1


LEVELS = ("system", "program", "producer", "producer in program")


def test_the_nearest_scope_s_active_version_counts(platform: Platform) -> None:
    """Every set of scopes that have a mapping, each in its second version, for everybody who may ask."""
    one = platform.scope.integration_id
    (program, other_program), (producer, other_producer) = platform.programs, platform.producers
    scopes = dict(zip(LEVELS, ((None, None), (program, None), (None, producer), (program, producer)), strict=True))
    wins: dict[tuple[int | None, int | None], tuple[str, ...]] = {
        (None, None): ("system",),
        (program, None): ("program", "system"),
        (None, producer): ("producer", "system"),
        (program, producer): ("producer in program", "producer", "program", "system"),
        (other_program, producer): ("producer", "system"),
        (program, other_producer): ("program", "system"),
        (other_program, other_producer): ("system",),
    }
    for present in product([False, True], repeat=len(LEVELS)):
        has = {level for level, is_present in zip(LEVELS, present, strict=True) if is_present}
        with platform.db.transaction() as connection, connection.begin_nested() as tried:
            for level in has:
                scope = Scope(one, *scopes[level])
                old = versions.add(connection, SYSTEM, scope, STATUS, TYPE, transformation={"default": "old"})
                new: dict[str, Any] = {"lookup": {"valid": level[:20]}}
                versions.replace(connection, SYSTEM, old, transformation=new)
            gone = versions.add(connection, SYSTEM, Scope(one, None, other_producer), STATUS, TYPE)
            versions.retire(connection, SYSTEM, gone)
            for (program_id, producer_id), order in wins.items():
                expected = next((level for level in order if level in has), None)
                found = written(rehearsal.in_force(connection, Scope(one, program_id, producer_id)))
                assert found == expected, (has, program_id, producer_id)
            tried.rollback()


def stamp_of(connection: Connection, integration_id: int) -> UUID:
    stamp: UUID = connection.execute(
        text("SELECT mapping_stamp FROM third_party_integration WHERE id = :id"), {"id": integration_id}
    ).scalar_one()
    return stamp


def test_a_worker_follows_a_change_at_once_and_reads_nothing_without_one(platform: Platform) -> None:
    books = Rulebooks()
    one = platform.scope.integration_id

    def follow() -> FieldMap:
        with platform.db.transaction() as connection:
            return books.of(connection, one, stamp_of(connection, one)).map(None, None)

    assert written(follow()) is None
    first = platform.add()
    now = follow()
    assert written(now) == "valid"
    assert follow() is now
    platform.replace(first, transformation={"uppercase": True})
    assert written(follow()) == "VALID"
    with platform.db.transaction() as connection:
        nodes.deprecate_node(connection, SYSTEM, platform.scope, STATUS, "2.7")
    assert "deprecated_node" in {
        note.word for note in follow().apply({"driver_data": {"license_info": {"status": "valid"}}}, TODAY).notes
    }
    before = follow()
    with platform.db.transaction() as connection:
        connection.execute(text("UPDATE third_party_integration SET api_version = '2.6' WHERE id = :id"), {"id": one})
    assert follow() is not before
    assert written(follow()) is None, "the node is of a version that the integration has not reached"


def test_producers_without_rows_of_their_own_share_one_compiled_map(platform: Platform) -> None:
    platform.add()
    with platform.db.transaction() as connection:
        one = platform.scope.integration_id
        book = Rulebooks().of(connection, one, stamp_of(connection, one))
    assert book.map(None, platform.producers[0]) is book.map(platform.programs[0], platform.producers[1])


def test_of_two_who_replace_a_version_at_the_same_time_one_is_told_so(platform: Platform) -> None:
    first = platform.add()
    with platform.db.transaction() as connection:
        second = versions.replace(connection, SYSTEM, first)
        other = in_thread(lambda: refusal(lambda: platform.replace(first)))
        until(lambda: waits_for_a_lock(platform.db))
    assert other() == "not_active"
    assert [(id_, is_active) for id_, _, is_active, _ in platform.history()] == [(first, False), (second, True)]


def test_of_two_who_add_the_same_mapping_one_is_told_so(platform: Platform) -> None:
    with platform.db.transaction() as connection:
        versions.add(connection, SYSTEM, platform.scope, STATUS, TYPE)
        other = in_thread(lambda: refusal(platform.add))
        until(lambda: waits_for_a_lock(platform.db))
    assert other() == "already_mapped"
    assert len(platform.history()) == 1


def refusal(deed: Callable[[], object]) -> str:
    with pytest.raises(BadRequest) as refused:
        deed()
    return refused.value.code


def waits_for_a_lock(db: Database) -> bool:
    with db.transaction() as connection:
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        return bool(connection.execute(text(waiting)).scalar_one())


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"node": "driver_data.license_info.statuss"}, "unknown_node"),
    ({"target": "license.license_number"}, "unknown_target"),
    ({"target": "driver.date_of_birth"}, "unknown_target"),
    ({"target": "users.password_hash"}, "unknown_target"),
    ({"target": "license"}, "unknown_target"),
    ({"transformation": {"upper": True}}, "bad_rule"),
    ({"transformation": {"lookup": {"a": "\0"}}}, "bad_rule"),
    ({"transformation": {"default": "\ud800"}}, "bad_rule"),
    ({"transformation": {"default": float("nan")}}, "bad_rule"),
    ({"transformation": {"default": {1, 2}}}, "bad_rule"),
    ({"transformation": {"default": "much longer than twenty"}}, "bad_rule"),
    ({"transformation": {"concat": {"nodes": [STATUS, "driver_data.shoe_size"]}}}, "bad_rule"),
    ({"validation": {"pattern": "("}}, "bad_rule"),
    ({"node": "driver_data.prior_names"}, "bad_rule"),
    ({"node": "driver_data.old"}, "deprecated_node"),
]


def test_what_can_t_work_is_refused_and_nothing_is_written(platform: Platform) -> None:
    with platform.db.transaction() as connection:
        nodes.add_node(connection, SYSTEM, platform.scope, "driver_data.prior_names", "array", is_array=True)
        nodes.add_node(connection, SYSTEM, platform.scope, "driver_data.old", "string")
        nodes.deprecate_node(connection, SYSTEM, platform.scope, "driver_data.old", "2.7")
    for change, code in REFUSED:
        assert (change, refusal(lambda change=change: platform.add(**change))) == (change, code)  # type: ignore[misc]  # a loop's own value
    assert platform.history() == []
    with pytest.raises(BadRequest, match=f"did you mean {STATUS}"):
        platform.add(node="driver_data.license_info.statuss")


def test_what_is_not_there_can_t_be_changed(platform: Platform) -> None:
    for change in (platform.replace, platform.retire):
        with pytest.raises(BadRequest, match="no field mapping 9"):
            change(9)
    first = platform.add()
    platform.retire(first)
    with pytest.raises(BadRequest, match="not active"):
        platform.replace(first)
    platform.add()
    assert refusal(platform.add) == "already_mapped"


@pytest.mark.parametrize(
    ("path", "data_type", "code"),
    [("a b", "string", "bad_path"), ("a.b", "text", "bad_data_type"), (STATUS, "string", "known_node")],
)
def test_a_node_that_is_none_is_refused(platform: Platform, path: str, data_type: str, code: str) -> None:
    with platform.db.transaction() as connection, pytest.raises(BadRequest) as refused:
        nodes.add_node(connection, SYSTEM, platform.scope, path, data_type)
    assert refused.value.code == code


def test_a_node_can_be_declared_personal_by_a_class_that_there_is(platform: Platform) -> None:
    with platform.db.transaction() as connection:
        node_id = nodes.add_node(connection, SYSTEM, platform.scope, "a.bird", "string", pii_class="name")
        declared = text("SELECT pii_class FROM integration_node WHERE id = :id")
        assert connection.execute(declared, {"id": node_id}).scalar_one() == "name"
        with pytest.raises(BadRequest, match="no class bird of personal data; there are name, "):
            nodes.add_node(connection, SYSTEM, platform.scope, "a.fish", "string", pii_class="bird")


GRANTS = ("none", "another right", "another producer", "producer", "program", "system")


def test_only_those_who_manage_mappings_in_a_scope_change_them(platform: Platform) -> None:
    """Every deed in every scope, against every kind of grant."""
    (program, _), (producer, other) = platform.programs, platform.producers
    one = platform.scope.integration_id
    places: list[tuple[int | None, int | None]] = [(None, None), (program, None), (None, producer), (program, producer)]
    may_change: dict[str, list[tuple[int | None, int | None]]] = {
        "producer": [(None, producer), (program, producer)],
        "program": [(program, None), (program, producer)],
        "system": places,
    }
    rights: dict[str, dict[str, Any]] = {
        "another right": {"right": "configure"},
        "another producer": {"right": "manage_mappings", "producer": other},
        "producer": {"right": "manage_mappings", "producer": producer},
        "program": {"right": "manage_mappings", "program": program},
        "system": {"right": "manage_mappings"},
    }
    with platform.db.transaction() as connection:
        ids = {place: versions.add(connection, SYSTEM, Scope(one, *place), STATUS, TYPE) for place in places}
        for granted in GRANTS:
            user_id = add_user(connection)
            if granted in rights:
                grant(connection, user_id, **rights[granted])
            user = Actor(user_id)
            for place in places:
                deeds: list[Callable[[], object]] = [
                    partial(versions.replace, connection, user, ids[place]),
                    partial(versions.retire, connection, user, ids[place]),
                    partial(versions.add, connection, user, Scope(one, *place), NUMBER, TYPE),
                ]
                if place == (None, None):
                    deeds.append(partial(nodes.add_node, connection, user, platform.scope, "a.b", "string"))
                for deed in deeds:
                    is_allowed = place in may_change.get(granted, [])
                    assert allows(connection, deed) is is_allowed, (granted, place, deed)


def allows(connection: Connection, deed: Callable[[], object]) -> bool:
    with connection.begin_nested() as tried:
        try:
            deed()
        except BadRequest as refused:
            assert refused.code == "forbidden"  # noqa: PT017 - both ways are looked at
            return False
        finally:
            tried.rollback()
    return True


def test_the_database_s_list_of_targets_is_the_models(platform: Platform) -> None:
    with platform.db.transaction() as connection:
        listed = versions.targets(connection)
    kinds = {"CHAR": "state", "VARCHAR": "text", "DATE": "date", "INTEGER": "integer"}
    declared = {
        f"{table.name}.{column.name}": (
            kinds[type(column.type).__visit_name__.upper().replace("STRING", "VARCHAR")],
            getattr(column.type, "length", None) if type(column.type).__name__ == "String" else None,
        )
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if is_mappable(column)
    }
    assert {name: (target.kind, target.max_length) for name, target in listed.items()} == declared


INSERT = """
    INSERT INTO integration_field_mapping (
        integration_id, source_node_id, target_table, target_column, transformation_rules, validation_rules,
        version_number, replaced_mapping_id, status_id, created_by
    )
    SELECT coalesce(CAST(:integration_id AS bigint), node.integration_id), node.id, :table, :column,
        CAST(:transformation AS jsonb), CAST(:validation AS jsonb), :version, :replaced, node.status_id,
        node.created_by
    FROM integration_node AS node WHERE node.node_path = :path
"""
ROW: dict[str, Any] = {
    "path": STATUS, "table": "license", "column": "license_type", "transformation": None, "validation": None,
    "integration_id": None, "version": 1, "replaced": None,
}  # fmt: skip


REFUSED_BY_SQL: list[tuple[dict[str, Any], str]] = [
    ({"table": "users", "column": "password_hash"}, "users.password_hash is not among the columns"),
    ({"table": "driver", "column": "id = 1; --"}, "is not among the columns"),
    ({"transformation": "[1]"}, "transformation_rules must be a JSON object"),
    ({"transformation": '{"upper": true}'}, 'there is no rule "upper"'),
    ({"transformation": '{"trim": "yes"}'}, "trim has a form that is not known"),
    ({"transformation": '{"last": 1.5}'}, "last has a form"),
    ({"transformation": '{"default": null}'}, "default has a form"),
    ({"transformation": '{"lookup": {"a": []}}'}, "lookup has a form"),
    ({"transformation": '{"array": {"join": 1}}'}, "array has a form"),
    ({"transformation": '{"date": ["YYYY"]}'}, "date has a form"),
    ({"transformation": '{"decimal": {"scale": 11}}'}, "decimal has a form"),
    ({"transformation": '{"boolean": {"true": []}}'}, "boolean has a form"),
    ({"transformation": '{"regex_replace": [{"pattern": "a"}]}'}, "regex_replace has a form"),
    ({"transformation": '{"concat": {"nodes": ["a"]}}'}, "concat has a form"),
    ({"transformation": f'{{"concat": {{"nodes": ["{STATUS}", "shoe"]}}}}'}, "concat names shoe"),
    ({"validation": '"required"'}, "validation_rules must be a JSON object"),
    ({"validation": '{"length": 5}'}, 'there is no rule "length"'),
    ({"validation": '{"max_length": -1}'}, "max_length has a form"),
    ({"validation": '{"pattern": ""}'}, "pattern has a form"),
    ({"validation": '{"enum": [{}]}'}, "enum has a form"),
    ({"validation": '{"min": "1"}'}, "min has a form"),
    ({"validation": '{"min_date": "soon"}'}, "min_date has a form"),
    ({"replaced": 1}, "replaced_mapping_id must name an earlier"),
]


def test_psql_is_refused_what_a_worker_could_not_follow(platform: Platform) -> None:
    with platform.db.transaction() as connection:
        for change, sentence in REFUSED_BY_SQL:
            with pytest.raises(IntegrityError) as refused, connection.begin_nested():
                connection.execute(text(INSERT), {**ROW, **change})
            assert sentence in str(refused.value.orig), change
    assert platform.history() == []


GOOD = """{"concat": {"nodes": ["driver_data.license_info.status", "confidence_score"], "separator": ""},
    "array": "first", "trim": true, "regex_replace": [{"pattern": "a", "replacement": ""}], "last": 3,
    "uppercase": true, "lookup": {"a": 1}, "date": ["YYYYMMDD"], "default": "x"}"""


def test_psql_may_save_what_a_worker_can_follow_and_never_rewrite_it(platform: Platform) -> None:
    limits = (
        '{"required": true, "min_length": 0, "max_length": 5, "pattern": "a", "enum": ["a"], "min_date": "today-9d"}'
    )
    with platform.db.transaction() as connection:
        connection.execute(text(INSERT), {**ROW, "transformation": GOOD, "validation": limits})
    for statement, sentence in (
        ("UPDATE integration_field_mapping SET transformation_rules = '{}'", "never rewritten"),
        ("UPDATE integration_field_mapping SET target_column = 'issue_date'", "never rewritten"),
        ("DELETE FROM integration_field_mapping", "retired, not deleted"),
    ):
        with pytest.raises(IntegrityError, match=sentence), platform.db.transaction() as connection:
            connection.execute(text(statement))
    with platform.db.transaction() as connection:
        connection.execute(text("UPDATE integration_field_mapping SET is_active_version = false"))
        with pytest.raises(IntegrityError, match="an old version stays one"):
            connection.execute(text("UPDATE integration_field_mapping SET is_active_version = true"))
    assert len(platform.history()) == 1
