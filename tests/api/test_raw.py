"""Raw answers: who may see them, and that each look leaves a row in the audit trail."""

from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from tests.api.clients import Upstream, add_client, token_of
from tests.api.served import Api
from tests.api.test_rights import change, question
from tests.conftest import DatabaseUrls
from worker.api.clients import Credentials
from worker.database import Database

SECRET = "geheim"


@pytest.fixture
def answered(upstream: Upstream, driver: int, db: Database) -> str:
    """Path of the raw answer to a question of tenant T1, a producer, under a configuration of program G1's."""
    add_named(db, "producer", "producer_code", "T1", "T2")
    add_named(db, "program", "code", "G1", "G2")
    request_id = upstream.call("POST", "/v1/verifications", question(driver)).body["request_id"]
    change(
        db,
        """
        WITH nearer AS (
            INSERT INTO integration_configuration (integration_id, configuration_level, program_id, endpoint_url,
                auth_config, is_enabled, status_id, created_by)
            SELECT integration_id, 'program', (SELECT id FROM program WHERE code = 'G1'), endpoint_url, auth_config,
                true, status_id, created_by
            FROM integration_configuration RETURNING id
        )
        UPDATE integration_request SET configuration_id = nearer.id, request_status = 'completed',
            response_status_code = 200, response_headers = '{"content-type": "application/json"}',
            response_body = '{"name": "geheim"}'
        FROM nearer WHERE integration_request.id = :id
        """,
        id=request_id,
    )
    return f"/v1/verifications/{request_id}/raw"


def add_named(db: Database, table: str, column: str, *codes: str) -> None:
    for code in codes:
        change(
            db,
            f"""INSERT INTO {table} ({column}, name, status_id, created_by)
                SELECT :code, :code, id, '00000000-0000-0000-0000-000000000001' FROM status WHERE code = 'ACTIVE'""",  # noqa: S608 - the tests' own words
            code=code,
        )


def permit(db: Database, client: Credentials, **changes: Any) -> None:
    """A row that lets a client view raw responses everywhere, but for the changes."""
    values = {
        "integration": "DCS_HOUSEHOLD_DRIVERS", "type": "group", "target": client.client_id, "level": "system",
        "program": None, "producer": None, "right": "can_view_raw_responses", **changes,
    }  # fmt: skip
    right = values.pop("right")
    change(
        db,
        f"""
        INSERT INTO integration_permission (integration_id, permission_type, permission_target_id, {right}, scope_level,
            program_id, producer_id, status_id, created_by)
        SELECT integration.id, :type, :target, true, :level, (SELECT id FROM program WHERE code = :program),
            (SELECT id FROM producer WHERE producer_code = :producer), status_id, created_by
        FROM third_party_integration AS integration WHERE code = :integration
        """,  # noqa: S608 - the tests' own words
        **values,
    )


CELLS: list[tuple[dict[str, Any], int]] = [
    ({}, 200),
    ({"level": "program", "program": "G1"}, 200),
    ({"level": "program", "program": "G2"}, 403),
    ({"level": "producer", "producer": "T1"}, 200),
    ({"level": "producer", "producer": "T1", "program": "G1"}, 200),
    ({"level": "producer", "producer": "T1", "program": "G2"}, 403),
    ({"level": "producer", "producer": "T2"}, 403),
    ({"integration": "DCS_CRIMINAL"}, 403),
    ({"target": "client_0000000000000000"}, 403),
    ({"type": "role", "target": "admin"}, 403),
    ({"type": "role"}, 403),
    ({"type": "user", "target": "00000000-0000-0000-0000-000000000001"}, 403),
    ({"right": "can_configure"}, 403),
    ({"right": "can_manage_mappings"}, 403),
    ({"right": "can_enable_disable"}, 403),
    ({"right": "can_force_calls"}, 403),
]


def looks(db: Database) -> list[Any]:
    with db.transaction() as connection:
        return list(
            connection.execute(
                text(
                    "SELECT action, resource_type, resource_id, details, correlation_id FROM audit_logs"
                    " WHERE action LIKE 'verification.raw%' ORDER BY created_at"
                )
            )
        )


def test_every_cell_of_the_table_of_rights(api: Api, db: Database, answered: str) -> None:
    seen = 0
    for changes, status in CELLS:
        client = add_client(db, "T1")
        permit(db, client, **changes)
        reply = api.call("GET", answered, token_of(api, client))
        assert reply.status == status, changes
        seen += status == 200
        assert len(looks(db)) == seen, "a row for each look, none for a refusal"
        assert (SECRET in str(reply.body)) is (status == 200), changes
        if status == 403:
            assert reply.body["code"] == "forbidden"


def test_a_look_shows_the_answer_and_leaves_a_row(api: Api, db: Database, answered: str) -> None:
    client = add_client(db, "T1")
    permit(db, client)
    reply = api.call("GET", answered, token_of(api, client), X_Correlation_Id="look-1")
    assert reply.headers["Cache-Control"] == "no-store"
    request_id = answered.split("/")[3]
    assert reply.body == {
        "request_id": int(request_id), "status": "completed", "status_code": 200,
        "headers": {"content-type": "application/json"}, "body": {"name": SECRET}, "is_masked": False,
    }  # fmt: skip
    (row,) = looks(db)
    assert tuple(row) == (
        "verification.raw_viewed",
        "integration_request",
        request_id,
        {"client": client.client_id, "integration": "DCS_HOUSEHOLD_DRIVERS", "is_masked": False},
        "look-1",
    )


def test_what_can_not_be_written_down_is_not_shown(
    api: Api, db: Database, answered: str, database: DatabaseUrls
) -> None:
    client = add_client(db, "T1")
    permit(db, client)
    with psycopg.connect(database.owner_url) as owner:
        owner.execute("ALTER TABLE audit_logs ADD CONSTRAINT closed CHECK (action <> 'verification.raw_viewed')")
    reply = api.call("GET", answered, token_of(api, client))
    assert reply.status == 500
    assert SECRET not in str(reply.body)


def test_without_scope_or_tenant_the_right_is_worth_nothing(api: Api, db: Database, answered: str) -> None:
    other_tenant = add_client(db, "T2")
    other_scope = add_client(db, "T1", scopes=["jobs:read", "verifications:write"])
    for client, status in ((other_tenant, 404), (other_scope, 403)):
        permit(db, client)
        reply = api.call("GET", answered, token_of(api, client))
        assert reply.status == status
        assert SECRET not in str(reply.body)
    assert looks(db) == []
