"""What the database refuses, whoever writes: wrong scopes, scores and overlaps, two active versions, lost targets."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.migrations import rows
from tests.migrations.rows import insert, integration, only


@pytest.fixture
def connection(owner: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """The owner inside a transaction that is rolled back."""
    with owner.transaction(force_rollback=True):
        yield owner


def refused(connection: psycopg.Connection, error: type[Exception], constraint: str, table: str, **values: Any) -> None:
    with pytest.raises(error, match=constraint), connection.transaction():
        insert(connection, table, **values)


@pytest.mark.parametrize("timeout", [0, 91])
def test_a_call_may_not_take_longer_than_a_run_of_its_job(connection: psycopg.Connection, timeout: int) -> None:
    with pytest.raises(errors.CheckViolation, match="timeout_seconds"), connection.transaction():
        rows.configuration(connection, timeout_seconds=timeout)
    rows.configuration(connection, timeout_seconds=90)


def test_a_mapping_has_many_versions_and_one_active(connection: psycopg.Connection) -> None:
    node = only(connection, "SELECT id FROM integration_node WHERE node_path LIKE '%%first_name'")
    rule = {
        "integration_id": integration(connection),
        "source_node_id": node,
        "target_table": "driver",
        "target_column": "first_name",
    }
    first = insert(connection, "integration_field_mapping", **rule, is_active_version=False)
    second = insert(
        connection,
        "integration_field_mapping",
        **rule,
        version_number=2,
        is_active_version=False,
        replaced_mapping_id=first,
    )
    third = {**rule, "version_number": 3, "replaced_mapping_id": second}
    insert(connection, "integration_field_mapping", **third)
    refused(
        connection,
        errors.UniqueViolation,
        "uq_integration_field_mapping_active",
        "integration_field_mapping",
        **third | {"version_number": 4},
    )
    refused(
        connection,
        errors.UniqueViolation,
        "uq_integration_field_mapping_version",
        "integration_field_mapping",
        **third | {"is_active_version": False},
    )
    chain = connection.execute("""
        WITH RECURSIVE older AS (
          SELECT version_number, replaced_mapping_id FROM integration_field_mapping WHERE is_active_version
          UNION ALL
          SELECT m.version_number, m.replaced_mapping_id
            FROM integration_field_mapping m JOIN older ON m.id = older.replaced_mapping_id
        ) SELECT version_number FROM older""").fetchall()
    assert chain == [(3,), (2,), (1,)]


def test_one_configuration_a_scope_and_environment(connection: psycopg.Connection) -> None:
    rows.configuration(connection)
    rows.configuration(connection, environment="production")
    with pytest.raises(errors.UniqueViolation, match="scope"), connection.transaction():
        rows.configuration(connection)


@pytest.mark.parametrize(
    ("level", "has_program", "has_producer", "fits"),
    [
        ("system", False, False, True),
        ("system", True, False, False),
        ("system", False, True, False),
        ("program", True, False, True),
        ("program", False, False, False),
        ("program", True, True, False),
        ("producer", False, True, True),
        ("producer", True, True, True),
        ("producer", True, False, False),
    ],
)
def test_a_scope_names_what_its_level_says(
    connection: psycopg.Connection, level: str, has_program: bool, has_producer: bool, fits: bool
) -> None:
    scope = {
        "configuration_level": level,
        "program_id": insert(connection, "program", code="PR", name="Program") if has_program else None,
        "producer_id": insert(connection, "producer", producer_code="P", name="Producer") if has_producer else None,
    }
    if fits:
        rows.configuration(connection, **scope)
    else:
        with pytest.raises(errors.CheckViolation, match="ck_integration_configuration_scope"):
            rows.configuration(connection, **scope)


@pytest.mark.parametrize("score", ["-0.01", "100.01", "999.99"])
def test_scores_stay_in_their_range(connection: psycopg.Connection, score: str) -> None:
    refused(connection, errors.CheckViolation, "ck_driver_verif", "driver", verification_confidence=score)
    refused(connection, errors.CheckViolation, "ck_address_stand", "address", standardization_confidence=score)
    result = {
        "request_id": rows.request(connection),
        "verification_type": "license",
        "target_entity_type": "driver",
        "target_entity_id": 1,
        "verification_status": "verified",
    }
    refused(
        connection,
        errors.CheckViolation,
        "confidence_score",
        "integration_verification_result",
        **result,
        confidence_score=score,
    )
    audit = {"action": "a", "resource_type": "r"}
    refused(connection, errors.CheckViolation, "risk_score", "audit_logs", **audit, risk_score="1.01")
    refused(
        connection,
        errors.CheckViolation,
        "ai_risk_score",
        "quotes",
        product_type="auto",
        state="TX",
        ai_risk_score="-0.01",
    )


@pytest.mark.parametrize("entity", ["driver", "vehicle", "address"])
def test_what_a_result_points_at_cannot_be_deleted(connection: psycopg.Connection, entity: str) -> None:
    target, free = insert(connection, entity), insert(connection, entity)
    result = insert(
        connection,
        "integration_verification_result",
        request_id=rows.request(connection),
        verification_type="identity",
        target_entity_type=entity,
        target_entity_id=target,
        verification_status="verified",
    )
    remove = f"DELETE FROM {entity} WHERE id = ANY(%s)"  # noqa: S608 - one of the three words above
    with pytest.raises(errors.ForeignKeyViolation, match=f"{entity} {target} still has"), connection.transaction():
        connection.execute(remove, [[target, free]])
    connection.execute(remove, [[free]])
    connection.execute("DELETE FROM integration_verification_result WHERE id = %s", [result])
    assert connection.execute(remove, [[target]]).rowcount == 1


def test_rates_of_one_coverage_do_not_overlap(connection: psycopg.Connection) -> None:
    rate = {"state": "TX", "product_type": "auto", "coverage_type": "BI", "base_rate": "987.32"}
    insert(connection, "rate_tables", **rate, effective_date="2025-01-01", expiration_date="2026-01-01")
    insert(connection, "rate_tables", **rate, effective_date="2026-01-01")
    insert(connection, "rate_tables", **rate | {"coverage_type": "PD"}, effective_date="2025-06-01")
    for overlap in ("2025-12-31", "2027-01-01"):
        refused(
            connection,
            errors.ExclusionViolation,
            "ex_rate_tables_no_overlap",
            "rate_tables",
            **rate,
            effective_date=overlap,
        )


def test_a_users_permission_names_a_uuid(connection: psycopg.Connection) -> None:
    grant = {"integration_id": integration(connection), "scope_level": "system"}
    insert(connection, "integration_permission", **grant, permission_type="role", permission_target_id="underwriter")
    user = only(connection, "SELECT id::text FROM users")
    insert(connection, "integration_permission", **grant, permission_type="user", permission_target_id=user)
    refused(
        connection,
        errors.CheckViolation,
        "ck_integration_permission_target",
        "integration_permission",
        **grant,
        permission_type="user",
        permission_target_id="42",
    )


def test_two_spellings_of_an_address_are_one_account(connection: psycopg.Connection) -> None:
    insert(connection, "users", email="Ann@Example.com", first_name="A", last_name="B")
    refused(
        connection,
        errors.UniqueViolation,
        "idx_users_email",
        "users",
        email="ann@example.COM",
        first_name="A",
        last_name="B",
    )


@pytest.mark.parametrize(
    ("grant_types", "valid"),
    [
        ('["authorization_code", "refresh_token"]', True),
        ('["client_credentials"]', True),
        ('["password"]', False),
        ('["authorization_code", "implicit"]', False),
        ('["client_credentials", null]', False),
        ("[]", False),
        ("{}", False),
        ('"refresh_token"', False),
        ("null", False),
        (None, False),
    ],
)
def test_grant_types_are_validated(connection: psycopg.Connection, grant_types: str | None, valid: bool) -> None:
    assert only(connection, "SELECT validate_grant_types(%s::jsonb)", grant_types) is valid


def test_a_household_is_deleted_in_any_order(connection: psycopg.Connection) -> None:
    driver = insert(connection, "driver")
    license_id = insert(connection, "license", driver_id=driver)
    connection.execute("UPDATE driver SET license_id = %s WHERE id = %s", [license_id, driver])
    connection.execute("DELETE FROM license WHERE driver_id = %s", [driver])
    assert connection.execute("DELETE FROM driver WHERE id = %s", [driver]).rowcount == 1
