"""What the demo reads of its database while it runs, and at the end."""

from sqlalchemy import Connection, text

from worker.dev.demo.report import Ending

_COUNTS = text("""
    SELECT count(*) FILTER (WHERE state = 'done') AS done,
           count(*) FILTER (WHERE state IN ('failed', 'cancelled', 'expired')) AS failed,
           count(*) FILTER (WHERE state IN ('ready', 'running') AND attempt > 0) AS retrying
    FROM job WHERE args ? 'request_id'
""")
_ENDINGS = text("""
    SELECT r.id AS request_id, j.state AS job_state, j.error_code, r.request_status,
           d.external_verification_status AS driver_status, l.external_verification_status AS license_status,
           r.retry_count AS retries,
           CAST(extract(epoch FROM j.finished_at - j.created_at) * 1000 AS float) AS duration_ms
    FROM job j
    JOIN integration_request r ON r.id = CAST(j.args ->> 'request_id' AS bigint)
    LEFT JOIN driver d ON d.id = r.driver_id
    LEFT JOIN license l ON l.id = d.license_id
    ORDER BY r.id
""")


def counts(connection: Connection) -> tuple[int, int, int]:
    """Jobs that are done, that ended otherwise, and that wait for or are in a further try."""
    row = connection.execute(_COUNTS).one()
    return row.done, row.failed, row.retrying


def endings(connection: Connection) -> list[Ending]:
    """One for each job, in the order they were asked for."""
    return [Ending(**row._mapping) for row in connection.execute(_ENDINGS)]
