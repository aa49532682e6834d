"""Requests and results in plausible sizes: half of them overdue for removal, the others of this year."""

import psycopg

OVERDUE_DAYS = 2600  # the policies say 2555


def add_requests(owner: psycopg.Connection, count: int, *, days: int = OVERDUE_DAYS, is_masked: bool = True) -> None:
    """So many requests of `days` ago, one a millisecond, each with a result."""
    owner.execute(_CONFIGURATION)
    owner.execute(_REQUESTS, {"count": count, "days": days, "is_masked": is_masked})
    owner.execute(_RESULTS, {"days": days, "is_masked": is_masked})


def settle(owner: psycopg.Connection) -> None:
    """What autovacuum would have done by the time the rows are overdue."""
    owner.execute("VACUUM ANALYZE")


_CONFIGURATION = """
    INSERT INTO integration_configuration (
        integration_id, configuration_level, environment, endpoint_url, auth_config, status_id, created_by
    )
    SELECT id, 'system', 'production', 'https://provider.example', '{}', status_id, created_by
    FROM third_party_integration WHERE code = 'DCS_HOUSEHOLD_DRIVERS'
    ON CONFLICT DO NOTHING
"""

_REQUESTS = """
    INSERT INTO integration_request (
        integration_id, configuration_id, user_id, status_id, created_by, endpoint, request_headers, request_body,
        response_status_code, response_headers, response_body, response_time_ms, request_status, correlation_id,
        external_transaction_id, pii_masked, created_at
    )
    SELECT c.integration_id, c.id, c.created_by, c.status_id, c.created_by, '/drivers', '{"accept": "json"}',
        jsonb_build_object('driver', jsonb_build_object('first_name', 'Ann', 'last_name', 'Example-' || n)), 200,
        '{"content-type": "application/json"}',
        jsonb_build_object('full_name', 'Ann Example-' || n, 'report', repeat(md5(n::text), 20)), 50, 'completed',
        md5(n::text), 'tx-' || n, %(is_masked)s,
        now() - make_interval(days => %(days)s) + n * interval '1 ms'
    FROM generate_series(1, %(count)s) AS n,
        (SELECT * FROM integration_configuration ORDER BY id LIMIT 1) AS c
"""

_RESULTS = """
    INSERT INTO integration_verification_result (
        request_id, status_id, created_by, verification_type, target_entity_type, target_entity_id,
        verification_status, verified_data, cache_expires_at, created_at
    )
    SELECT r.id, r.status_id, r.created_by, 'license', 'driver', 1000000 + r.id, 'verified',
        jsonb_build_object('full_name', 'Ann Example', 'report', repeat(md5(r.id::text), 8)),
        r.created_at + interval '30 days', r.created_at
    FROM integration_request AS r LEFT JOIN integration_verification_result AS v ON v.request_id = r.id
    WHERE v.id IS NULL
"""
