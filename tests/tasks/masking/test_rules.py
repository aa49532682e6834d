"""What each operator gives, and which rules are refused: by the job, and by the database when they are saved."""

from dataclasses import replace
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import errors
from psycopg.types.json import Jsonb

from models.vocabularies import MaskingOperator
from tasks.masking.operators import REDACTED, operator
from tasks.masking.rules import VALIDATORS, Rule, problem_of
from tests.migrations.conftest import application, module_database  # noqa: F401 - these are fixtures
from tests.migrations.rows import only
from tests.tasks.masking.defaults import KEYRING, default_rules

GIVEN: list[tuple[MaskingOperator, dict[str, int], Any, Any]] = [
    ("keep", {}, "Ann", "Ann"),
    ("remove", {}, "Ann", None),
    ("redact", {}, "Ann", REDACTED),
    ("redact", {}, 7, None),
    ("redact", {}, False, None),
    ("partial", {"keep_head": 2, "keep_tail": 2, "min_hidden": 3}, "ABCDEFGH", "AB****GH"),
    ("partial", {"keep_head": 2, "keep_tail": 2, "min_hidden": 3}, "ABCDEF", REDACTED),
    ("hmac", {}, " ", REDACTED),
    ("date_year", {}, "1980-05-15", "1980-01-01"),
    ("date_year", {}, "05/15/1980", "1980-01-01"),
    ("date_year", {}, "19800515", "1980-01-01"),
    ("date_year", {}, "1980-05-15T10:00:00Z", "1980-01-01"),
    ("date_year", {"oldest_year": 1936}, "1912-05-15", "1936-01-01"),
    ("date_year", {}, "in May", REDACTED),
    ("bucket", {"width": 10}, 67, 60),
    ("bucket", {"width": 10}, -1, -10),
    ("bucket", {"width": 5}, 7.5, 5.0),
    ("bucket", {"width": 5}, "7", REDACTED),
    ("bucket", {"width": 5}, 1e300, None),
    ("truncate_ip", {}, "10.20.30.40", "10.20.30.0/24"),
    ("truncate_ip", {}, "10.20.0.0/16", "10.20.0.0/16"),
    ("truncate_ip", {}, "2001:db8:1:2::3", "2001:db8:1::/48"),
    ("truncate_ip", {}, "fe80::1%eth0", "fe80::/48"),
    ("truncate_ip", {}, "home", REDACTED),
]


@pytest.mark.parametrize(("name", "params", "value", "masked"), GIVEN)
def test_operators(name: MaskingOperator, params: dict[str, int], value: Any, masked: Any) -> None:
    assert operator(name, params, "name", KEYRING.token)(value) == masked


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()
)


@given(scalars, st.integers(0, 4), st.integers(0, 4), st.integers(1, 5), st.integers(1, 1000))
def test_every_operator_has_a_fixed_point(value: Any, head: int, tail: int, hidden: int, width: int) -> None:
    params = {
        "partial": {"keep_head": head, "keep_tail": tail, "min_hidden": hidden},
        "bucket": {"width": width},
        "date_year": {"oldest_year": width},
    }
    names: tuple[MaskingOperator, ...] = (
        "remove", "redact", "partial", "hmac", "date_year", "bucket", "truncate_ip", "keep",
    )  # fmt: skip
    for name in names:
        apply = operator(name, params.get(name, {}), "name", KEYRING.token)
        assert apply(apply(value)) == apply(value)


@pytest.mark.parametrize(
    ("validator", "value", "is_valid"),
    [
        ("ssn", "123-45-6789", True),
        ("ssn", "666-45-6789", False),
        ("ssn", "123-00-6789", False),
        ("luhn", "4111 1111 1111 1111", True),
        ("luhn", "4111 1111 1111 1112", False),
    ],
)
def test_validators(validator: str, value: str, is_valid: bool) -> None:
    assert VALIDATORS[validator](value) is is_valid


BAD: list[tuple[dict[str, Any], str]] = [
    ({"match": "path", "pattern": "a..b"}, "a path is keys with dots"),
    ({"match": "glob", "pattern": "a.[*]"}, "a glob is a path"),
    ({"match": "key", "pattern": "a.b"}, "a key is letters"),
    ({"match": "key", "pattern": ""}, "a key is letters"),
    ({"match": "value", "pattern": "("}, "no regular expression"),
    ({"match": "value", "pattern": "a{2,1}"}, "no regular expression"),
    ({"match": "value", "pattern": "a*"}, "matches the empty text"),
    ({"match": "value", "pattern": "a", "operator": "keep"}, "a value rule takes one of redact, remove, hmac"),
    ({"validator": "ssn"}, "only a value rule has a validator"),
    ({"match": "value", "pattern": "a", "validator": "iban"}, "only a value rule has a validator"),
    ({"params": {"width": 3}}, "redact has no parameter width"),
    ({"operator": "bucket"}, "bucket needs width"),
    ({"operator": "bucket", "params": {"width": 0}}, "width must be a whole number, at least 1"),
    ({"operator": "partial", "params": {"min_hidden": 1.5}}, "min_hidden must be a whole number, at least 1"),
    ({"operator": "partial", "params": {"keep_head": 1}}, "partial needs min_hidden"),
]


@pytest.mark.parametrize(("values", "told"), BAD)
def test_a_bad_rule_is_told_by_the_job(values: dict[str, Any], told: str) -> None:
    right = Rule(7, "key", "a", "redact", "name")
    assert problem_of(right) is None
    assert told in (problem_of(replace(right, **values)) or "")


def save(connection: psycopg.Connection, version: int = 2, **values: Any) -> None:
    row = {"match": "key", "pattern": "a", "operator": "redact", "validator": None, "params": {}} | values
    connection.execute(
        "INSERT INTO pii_masking_rules (version, match_type, pattern, operator, validator, params, data_class)"
        " VALUES (%s, %s, %s, %s, %s, %s, 'name')",
        [version, row["match"], row["pattern"], row["operator"], row["validator"], Jsonb(row["params"])],
    )


@pytest.mark.parametrize(("values", "told"), BAD)
def test_a_bad_rule_is_refused_when_it_is_saved(
    application: psycopg.Connection,  # noqa: F811 - the fixture
    values: dict[str, Any],
    told: str,
) -> None:
    with pytest.raises(errors.CheckViolation, match=told), application.transaction():
        save(application, **values)


def test_a_version_that_was_used_is_closed(application: psycopg.Connection) -> None:  # noqa: F811 - the fixture
    save(application)
    application.execute("UPDATE pii_masking_rules SET pattern = 'b' WHERE version = 2")
    application.execute("UPDATE pii_masking_rules SET used_at = now() WHERE version = 2")
    for statement in (
        "UPDATE pii_masking_rules SET operator = 'keep' WHERE version = 2",
        "UPDATE pii_masking_rules SET used_at = NULL WHERE version = 2",
        "DELETE FROM pii_masking_rules WHERE version = 2",
    ):
        with pytest.raises(errors.RestrictViolation, match="has been used"), application.transaction():
            application.execute(statement)
    with pytest.raises(errors.RestrictViolation, match="version 2 of the masking rules"), application.transaction():
        save(application, pattern="c")
    save(application, version=3, pattern="c")


def test_the_rules_that_are_loaded_are_right(application: psycopg.Connection) -> None:  # noqa: F811 - the fixture
    assert [problem_of(rule) for rule in default_rules() if problem_of(rule)] == []
    assert only(application, "SELECT count(*) FROM pii_masking_rules WHERE version = 1") == len(default_rules())
