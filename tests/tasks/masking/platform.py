"""Rows to mask: answered requests with their results, quotes, and what is left of a canary in them."""

from typing import Any

import psycopg

from tests.migrations.rows import configuration, insert, request

ANSWER = {
    "transaction_id": "t-1",
    "driver_data": {"personal_info": {"first_name": "Canary", "favourite_bird": "Canary"}, "driver_id": "d-1"},
}


def requests(connection: psycopg.Connection, count: int, *, days_ago: int = 100, **values: Any) -> list[int]:
    """Answered requests of so many days ago, each with a result."""
    found = connection.execute("SELECT id FROM integration_configuration LIMIT 1").fetchone()
    configured = found[0] if found else configuration(connection)
    said = {
        "request_headers": {"x-correlation-id": "c-1", "authorization": "Canary"},
        "request_body": {"search": {"driver": {"last_name": "Canary", "license_number": "Canary1"}}},
        "response_body": ANSWER,
        "error_message": "Canary is no driver",
        "request_status": "completed",
        "configuration_id": configured,
    }
    ids = [request(connection, **said | values) for _ in range(count)]
    connection.execute(
        "UPDATE integration_request SET created_at = now() - make_interval(days => %s) WHERE id = ANY(%s)",
        [days_ago, ids],
    )
    for id_ in ids:
        insert(
            connection, "integration_verification_result", request_id=id_, verification_type="license",
            target_entity_type="driver", target_entity_id=9, verification_status="verified",
            verified_data={"driver.first_name": "Canary"},
            discrepancies=[{"node_path": "a.b", "match": "other", "said": {"last_name": "Canary"}}],
            cache_expires_at="2100-01-01",
        )  # fmt: skip
    return ids


def quote(connection: psycopg.Connection, **values: Any) -> Any:
    said = {
        "product_type": "auto",
        "state": "TX",
        "status": "quoted",
        "drivers": [{"first_name": "Canary", "points": 2}],
        "vehicle_info": {"vin": "1CANARY0000CANARY", "annual_mileage": 12000},
        "created_at": "2020-01-01",
    }
    return insert(connection, "quotes", **said | values)


def counts(run: dict[str, Any], table: str = "integration_request") -> dict[str, int]:
    found: dict[str, int] = run["progress"]["counts"].get(table, {})
    return found


def marks(connection: psycopg.Connection) -> list[tuple[bool, int | None]]:
    return connection.execute("SELECT pii_masked, pii_rule_version FROM integration_request ORDER BY id").fetchall()


def left(connection: psycopg.Connection) -> list[int]:
    """Ids of the requests in which, or in whose results, the canary still sings."""
    rows = connection.execute(
        "SELECT q.id FROM integration_request q JOIN integration_verification_result r ON r.request_id = q.id"
        " WHERE q::text || r::text LIKE '%Canary%' ORDER BY q.id"
    )
    return [id_ for (id_,) in rows]
