"""Policies and holds that make no sense are refused when they are written, by name."""

from typing import Any

import psycopg
import pytest
from psycopg import errors

from models.users import SYSTEM_USER_ID
from tests.migrations.rows import insert, only


@pytest.mark.parametrize(
    ("values", "error", "told"),
    [
        ({"table_name": "drivers"}, errors.UndefinedTable, "there is no table drivers"),
        ({"date_column": "born_at"}, errors.UndefinedColumn, "vehicle.born_at is no column with a date or a time"),
        ({"date_column": "vin"}, errors.UndefinedColumn, "vehicle.vin is no column with a date"),
        ({"retention_days": -1}, errors.CheckViolation, "retention_days of vehicle must be at least 1, not -1"),
        ({"retention_days": 0}, errors.CheckViolation, "retention_days of vehicle must be at least 1, not 0"),
        ({"mask_after_days": -1}, errors.CheckViolation, "mask_after_days of vehicle must not be negative: -1"),
        ({"action": "partition"}, errors.CheckViolation, "vehicle has no partitions: its action must be delete"),
        ({"table_name": "audit_logs", "date_column": "created_at"}, errors.CheckViolation, "audit_logs is partitioned"),
        ({"table_name": "legal_holds", "date_column": "placed_at"}, errors.CheckViolation, "legal_holds is evidence"),
        ({"max_share": 1.5}, errors.CheckViolation, "max_share"),
        ({"max_share": 0}, errors.CheckViolation, "max_share"),
        ({"batch_size": 0}, errors.CheckViolation, "batch_size"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_by_name(
    application: psycopg.Connection,
    values: dict[str, Any],
    error: type[Exception],
    told: str,
) -> None:
    application.execute("DELETE FROM data_retention_policies WHERE table_name IN ('vehicle', 'audit_logs')")
    policy = {"table_name": "vehicle", "date_column": "updated_at", "retention_days": 1, "legal_basis": "b", **values}
    with pytest.raises(error, match=told), application.transaction():
        insert(application, "data_retention_policies", **policy)


@pytest.mark.parametrize(
    ("scope", "subject"),
    [
        ("driver", "77"),
        ("driver", "Jane Doe"),
        ("driver", "99999999999999999999"),
        ("quote", "1"),
        ("quote", "00000000-0000-0000-0000-00000000abcd"),
        ("customer", "nobody"),
        ("integration_request", ""),
        ("audit_month", "1990_01"),
    ],
)
def test_a_hold_on_nothing_is_refused_by_name(
    application: psycopg.Connection,
    scope: str,
    subject: str,
) -> None:
    with (
        pytest.raises(errors.ForeignKeyViolation, match=f"there is no {scope.replace('_', ' ')} {subject} to hold"),
        application.transaction(),
    ):
        insert(application, "legal_holds", scope_type=scope, scope_id=subject, reason="r", placed_by=SYSTEM_USER_ID)


def test_a_hold_is_found_however_its_subject_was_written(application: psycopg.Connection) -> None:
    driver = insert(application, "driver", first_name="A")
    placed = insert(
        application, "legal_holds", scope_type="driver", scope_id=f"00{driver}", reason="r", placed_by=SYSTEM_USER_ID
    )
    assert only(application, "SELECT scope_id FROM legal_holds WHERE id = %s", placed) == str(driver)
    assert only(application, "SELECT row_id FROM held_rows WHERE table_name = 'driver'") == str(driver)


def test_a_hold_can_be_released_but_not_moved_or_deleted(application: psycopg.Connection) -> None:
    driver = insert(application, "driver", first_name="A")
    insert(application, "legal_holds", scope_type="driver", scope_id=str(driver), reason="r", placed_by=SYSTEM_USER_ID)
    for statement in ("DELETE FROM legal_holds", "UPDATE legal_holds SET scope_type = 'vehicle'"):
        with pytest.raises(errors.RestrictViolation, match="legal hold"), application.transaction():
            application.execute(statement)
    application.execute("UPDATE legal_holds SET released_at = now(), released_by = placed_by")
    assert only(application, "SELECT count(*) FROM held_rows") == 0
