"""The SQL of the retention job: what is planned from the catalogue, and the record of each run."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, text

from models import Base
from models.facts import retention_of
from models.users import SYSTEM_USER_ID
from tasks.retention.plan import Policy, Reference, removals
from tasks.retention.quotes_store import ExpiredQuotes
from tasks.retention.removal_store import OverdueRows
from tasks.retention.statements import Key, overdue
from worker.job import Finished
from worker.maintenance import kind
from worker.maintenance.order import Order
from worker.maintenance.stages import Plan, Problem, Stage
from worker.outcomes import Cancelled, Done, Expired, GiveUp

_LATE = timedelta(days=2)
"""A row that is overdue for longer was missed by a night, or a run did not get to it."""

_TARGETS = ("driver", "vehicle", "address")


def plan(connection: Connection, order: Order) -> Plan:
    """Expired quotes first, then a stage for each policy, children before parents."""
    policies, switched_off = _policies(connection)
    tables = {row.table_name: row for row in connection.execute(_TABLES)}
    keys = {name: Key(row.column_name, row.type) for name, row in tables.items()}
    now, deleted = connection.execute(_NOW).one()
    cutoffs = {policy.table: now - timedelta(days=policy.days) for policy in policies}
    references = _references(connection)
    belongs_to = {
        table.name: with_table
        for table in Base.metadata.tables.values()
        if (with_table := retention_of(table).with_table) is not None
    }
    run_id = connection.execute(_TAKE_UP_RUN, {"job_id": order.job.id}).scalar() or uuid4()
    stages: list[Stage] = [ExpiredQuotes()]
    problems = []
    for removal in removals(policies, references, belongs_to, switched_off):
        table = removal.policy.table
        if table not in keys:
            problems.append(Problem("no_key", f"{table} has no key of one column: its rows can't be recorded."))
            continue
        is_overdue = overdue(
            removal,
            only_status=deleted if table in belongs_to else None,
            has_retention_until=tables[table].has_retention_until,
        )
        stages.append(
            OverdueRows(removal, keys, cutoffs, run_id, is_overdue, tables[table].may_lock, order.is_confirmed)
        )
    alarms = _alarms(connection, belongs_to)
    # Last: a transaction that has written nothing yet holds nobody up.
    connection.execute(_BEGIN_RUN, {"id": run_id, "job_id": order.job.id, "actor": SYSTEM_USER_ID})
    # Without waiting for the disk: a batch that a crash of the server takes back is taken back whole, with its record
    # and the job's progress, and the next attempt removes the same rows. Nobody can have built on it, for whatever is
    # written later reaches the disk behind it; and what ends the run does wait.
    return Plan(stages, problems, alarms, waits_for_disk=False)


def _policies(connection: Connection) -> tuple[list[Policy], list[str]]:
    rows = connection.execute(_POLICIES).all()
    in_force = [
        Policy(row.table_name, row.version, row.retention_days, row.date_column, row.batch_size, float(row.max_share))
        for row in rows
        if row.enabled
    ]
    return in_force, [row.table_name for row in rows if not row.enabled]


_POLICIES = text("SELECT * FROM data_retention_policies WHERE action = 'delete' ORDER BY table_name")


def _references(connection: Connection) -> list[Reference]:
    declared = [Reference(*row) for row in connection.execute(_FOREIGN_KEYS)]
    # What a verification found out points into one of three tables, which no foreign key can do.
    results = [
        Reference(
            "integration_verification_result",
            "target_entity_id",
            target,
            where=f"target_entity_type = '{target}'",
        )
        for target in _TARGETS
    ]
    return declared + results


_FOREIGN_KEYS = text(
    """
    SELECT child.relname, a.attname, parent.relname, c.confdeltype, a.attnotnull
    FROM pg_constraint AS c
    JOIN pg_class AS child ON child.oid = c.conrelid
    JOIN pg_class AS parent ON parent.oid = c.confrelid
    JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
    WHERE c.contype = 'f' AND c.conparentid = 0 AND child.relnamespace = 'public'::regnamespace
    """
)

_TABLES = text(
    """
    SELECT t.relname AS table_name, a.attname AS column_name, format_type(a.atttypid, NULL) AS type,
        has_table_privilege(t.oid, 'UPDATE') AS may_lock, EXISTS (
            SELECT FROM pg_attribute WHERE attrelid = t.oid AND attname = 'retention_until' AND NOT attisdropped
        ) AS has_retention_until
    FROM pg_index AS i
    JOIN pg_class AS t ON t.oid = i.indrelid
    JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = i.indkey[0]
    WHERE i.indisprimary AND i.indnkeyatts = 1 AND t.relnamespace = 'public'::regnamespace
    """
)

_NOW = text("SELECT now(), (SELECT id FROM status WHERE code = 'DELETED')")


def _alarms(connection: Connection, belongs_to: Mapping[str, str]) -> list[Problem]:
    late = connection.execute(text("SELECT table_name, overdue FROM retention_backlog()")).all()
    return [
        Problem("retention_overdue", f"{row.table_name}: a row has been overdue for {row.overdue.days} days.")
        for row in late
        if row.overdue > _LATE and row.table_name not in belongs_to
    ]


# The record of an earlier attempt of the job is gone on with.
_TAKE_UP_RUN = text("SELECT id FROM retention_runs WHERE job_id = :job_id AND state = 'running'")
_BEGIN_RUN = text(
    "INSERT INTO retention_runs (id, job_id, actor_id) VALUES (:id, :job_id, :actor) ON CONFLICT (id) DO NOTHING"
)


def save(connection: Connection, finished: Sequence[Finished]) -> None:
    """Close the record of each run that is over. Of a dry run, only that it was: its own record was taken back."""
    for run in finished:
        if (state := _state(run.outcome)) is None:
            continue
        values: dict[str, Any] = {"job_id": run.job.id, "state": state, "actor": SYSTEM_USER_ID}
        if run.job.args.get("dry_run"):
            connection.execute(_RECORD_DRY_RUN, values)
        else:
            connection.execute(_END_RUN, values)
    kind.save(connection, finished)


def _state(outcome: object) -> str | None:
    match outcome:
        case Done():
            return "finished"
        case Cancelled() | Expired():
            return "stopped"
        case GiveUp():
            return "failed"
    return None


_END_RUN = text(
    "UPDATE retention_runs SET state = :state, finished_at = now() WHERE job_id = :job_id AND state = 'running'"
)
_RECORD_DRY_RUN = text(
    """
    INSERT INTO retention_runs (job_id, actor_id, is_dry_run, state, started_at, finished_at)
    SELECT id, :actor, true, :state, coalesce(started_at, now()), now() FROM job WHERE id = :job_id
    """
)
