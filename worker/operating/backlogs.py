"""What upkeep has left to do, and what calls cost today, in numbers for monitoring. Reads only.

Each statement goes by an index to the oldest row; counts end at `COUNT_MAX`. They still look at more than those of
`numbers.py`: ask once a minute.
"""

import re
from typing import Any

from sqlalchemy import Connection, text

COUNT_MAX = 10_000

_NAME = re.compile(r"[a-z_][a-z0-9_]*", re.ASCII)

_REQUESTS_ARE_DUE = (
    "contains_pii AND NOT pii_masked AND request_status IN ('completed', 'failed', 'timeout')"  # as masking has it
)


def paid_calls(connection: Connection) -> list[tuple[Any, ...]]:
    """Integration, reason, calls and US dollars of today, in UTC."""
    return [tuple(row) for row in connection.execute(_PAID_CALLS)]


_PAID_CALLS = text(
    """
    SELECT integration.code, call.reason, sum(call.calls), coalesce(sum(call.calls * call.price), 0)
    FROM provider_call AS call JOIN third_party_integration AS integration ON integration.id = call.integration_id
    WHERE call.at >= date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
    GROUP BY 1, 2
    """
)


def unmasked(connection: Connection) -> dict[str, tuple[float, int]]:
    """For each table that masking knows: for how many seconds its oldest row has been due, and how many rows are."""
    found = {}
    for table, column, days in connection.execute(_MASKED_TABLES).all():
        if not (_NAME.fullmatch(table) and _NAME.fullmatch(column)):
            continue  # a policy that no job can use either
        is_due = _REQUESTS_ARE_DUE if table == "integration_request" else "pii_rule_version IS NULL"
        row = connection.execute(
            text(
                f"""
                SELECT coalesce(extract(epoch FROM now() - make_interval(days => :days) - min(at)), 0), count(*)
                FROM (
                    SELECT {column} AS at FROM {table}
                    WHERE {is_due} AND {column} < now() - make_interval(days => :days)
                      AND id::text NOT IN (SELECT held_ids(:table))
                    ORDER BY {column} LIMIT :count_max
                ) AS due
                """  # noqa: S608 - names that were just looked at
            ),
            {"days": days, "table": table, "count_max": COUNT_MAX},
        ).one()
        found[table] = (float(row[0]), int(row[1]))
    return found


_MASKED_TABLES = text(
    """
    SELECT table_name, date_column, mask_after_days FROM data_retention_policies
    WHERE mask_after_days IS NOT NULL AND EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = to_regclass(table_name) AND attname = 'pii_rule_version'
    )
    ORDER BY table_name
    """
)


def retained_too_long(connection: Connection) -> dict[str, float]:
    """For each table that retention knows: for how many seconds its oldest row has been overdue."""
    rows = connection.execute(_RETENTION).all()
    return {table: float(seconds) for table, seconds in rows}


_RETENTION = text(
    """
    SELECT policy.table_name, coalesce(extract(epoch FROM late.overdue), 0)
    FROM data_retention_policies AS policy LEFT JOIN retention_backlog() AS late USING (table_name)
    WHERE policy.enabled AND policy.action = 'delete'
    """
)


def audit_partitions(connection: Connection) -> tuple[int, int]:
    """How many months ahead there are partitions of the audit trail for, without a gap, and rows in the default one."""
    row = connection.execute(_PARTITIONS, {"count_max": COUNT_MAX}).one()
    return int(row[0]), int(row[1])


_PARTITIONS = text(
    """
    SELECT (
        SELECT count(*) FROM (
            SELECT bool_and(to_regclass('public.audit_logs_' || to_char(month, 'YYYY_MM')) IS NOT NULL)
                OVER (ORDER BY month) AS is_there
            FROM generate_series(
                date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month',
                date_trunc('month', now() AT TIME ZONE 'UTC') + interval '12 months', interval '1 month'
            ) AS month
        ) AS months WHERE is_there
    ), (SELECT count(*) FROM (SELECT FROM audit_logs_default LIMIT :count_max) AS strays)
    """
)
