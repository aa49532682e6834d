"""Nothing lost, nothing doubled: every job and every call is accounted for, and what does not add up is named.

Jobs, requests, results and calls tell of the same things in different words, each written in one transaction with the
others. So each check is one statement, in one snapshot, and whatever it finds is a fault, not a matter of timing. A row
that is gone is explained by retention's own records of what it removed, and by nothing else.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from worker.operating.batch_checks import BATCH_CHECKS
from worker.operating.checks import CHECKS

EXAMPLES_MAX = 20


@dataclass(frozen=True, slots=True)
class Jobs:
    """How many jobs of a kind are in a state."""

    kind: str
    state: str
    count: int


@dataclass(frozen=True, slots=True)
class Calls:
    """`uncertain` may have been made by workers that died; `under_way` is what runs may be sending, at most.

    `avoided` are requests that took a known answer.
    """

    certain: int
    uncertain: int
    under_way: int
    avoided: int


@dataclass(frozen=True, slots=True)
class Finding:
    """Rows that contradict others. `examples` are the ids of the first of them."""

    code: str
    meaning: str
    count: int
    examples: list[str]


@dataclass(frozen=True, slots=True)
class Account:
    """Everything there is at one moment. Without findings it all adds up."""

    at: datetime
    jobs: list[Jobs]
    calls: Calls
    findings: list[Finding]


def reconcile(connection: Connection) -> Account:
    """Account for all jobs and calls. Reads everything: minutes on a large database, but takes no locks."""
    at: datetime = connection.execute(text("SELECT now()")).scalar_one()
    # A large table is read for longer than a statement of a worker may take.
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    jobs = [Jobs(*row) for row in connection.execute(_JOBS)]
    calls = Calls(*connection.execute(_CALLS).one())
    removed = dict(connection.execute(_REMOVED).mappings().one())
    findings = []
    for check in (*CHECKS, *BATCH_CHECKS):
        wrong = f"SELECT count(*), (array_agg(id::text ORDER BY id))[1:{EXAMPLES_MAX}]"
        row = connection.execute(text(f"{wrong} FROM ({check.sql}) AS wrong (id)"), removed).one()
        if row[0]:
            findings.append(Finding(check.code, check.meaning, row[0], row[1]))
    return Account(at, jobs, calls, findings)


# A batch's record bounds what it removed: by the cutoff, a count, and the first and the last id.
_REMOVED = text(
    """
    SELECT coalesce(max(cutoff) FILTER (WHERE table_name = 'job'), '0001-01-01Z') AS jobs_gone_before,
        coalesce(max(cutoff) FILTER (WHERE table_name = 'job_batch'), '0001-01-01Z') AS batches_gone_before,
        coalesce(max(cutoff) FILTER (WHERE table_name = 'provider_call'), '0001-01-01Z') AS calls_gone_before,
        coalesce(sum(deleted_count) FILTER (WHERE table_name = 'job'), 0)::bigint AS jobs_removed,
        coalesce(max(CASE WHEN table_name = 'integration_request' THEN last_id::bigint END), 0) AS requests_gone_to
    FROM retention_run_items AS item JOIN retention_runs AS run ON run.id = item.run_id
    WHERE NOT run.is_dry_run AND item.deleted_count > 0
    """
)

_JOBS = text("SELECT kind, state, count(*) FROM job GROUP BY kind, state ORDER BY kind, state")

_CALLS = text(
    """
    SELECT
        (SELECT coalesce(sum(calls), 0) FROM provider_call WHERE is_certain),
        (SELECT coalesce(sum(calls), 0) FROM provider_call WHERE NOT is_certain),
        (SELECT coalesce(sum(coalesce(calls_at_most, 1)), 0) FROM integration_request WHERE request_status = 'sent'),
        (SELECT count(*) FROM integration_request WHERE request_status = 'completed' AND answered_by IS NOT NULL)
    """
)
