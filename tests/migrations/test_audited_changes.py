"""Changes of configuration are in the audit trail, with the names of columns and without a value of theirs."""

from typing import Any

import psycopg
import pytest

from models.users import SYSTEM_USER_ID
from tests.migrations.rows import configuration, insert, only


def trail(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT action, resource_type, resource_id, user_id, details FROM audit_logs ORDER BY action"
    ).fetchall()


def test_a_change_is_told_by_its_columns_in_the_same_transaction(application: psycopg.Connection) -> None:
    id_ = configuration(application, auth_config={"client_secret": "hunter2"})
    application.execute("SET LOCAL worker.actor = 'olga'")
    application.execute(
        """UPDATE integration_configuration SET auth_config = '{"client_secret": "hunter3"}', cache_ttl_hours = 7,
                  updated_by = %s""",
        [SYSTEM_USER_ID],
    )
    added, changed = trail(application)
    assert added[:3] == ("configuration.added", "integration_configuration", str(id_))
    assert changed[:4] == ("configuration.changed", "integration_configuration", str(id_), SYSTEM_USER_ID)
    assert changed[4]["columns"] == ["auth_config", "cache_ttl_hours"]
    assert changed[4]["by"] == "olga"
    assert "hunter" not in str(trail(application))


def test_what_changes_nothing_is_not_in_the_trail(application: psycopg.Connection) -> None:
    application.execute("UPDATE third_party_integration SET name = name")
    assert trail(application) == []


def test_removals_are_in_the_trail(application: psycopg.Connection) -> None:
    policy = only(application, "DELETE FROM data_retention_policies WHERE table_name = 'quotes' RETURNING id")
    ((action, table, id_, _, details),) = trail(application)
    assert (action, table, id_, set(details)) == (
        "configuration.removed", "data_retention_policies", str(policy), {"role"},
    )  # fmt: skip


def test_a_hold_is_told_with_who_placed_and_who_released_it(application: psycopg.Connection) -> None:
    driver = insert(application, "driver", first_name="A")
    insert(application, "legal_holds", scope_type="driver", scope_id=str(driver), reason="r", placed_by=SYSTEM_USER_ID)
    application.execute("UPDATE legal_holds SET released_at = now(), released_by = placed_by")
    assert [(row[0], row[3]) for row in trail(application)] == [
        ("configuration.added", SYSTEM_USER_ID),
        ("configuration.changed", SYSTEM_USER_ID),
    ]


@pytest.mark.parametrize("table", ["users", "integration_permission", "pii_masking_rules", "rate_tables"])
def test_these_tables_are_watched(application: psycopg.Connection, table: str) -> None:
    watched = only(
        application, "SELECT count(*) FROM pg_trigger WHERE tgrelid = %s::regclass AND tgname LIKE '%%audited'", table
    )
    assert watched == 1
