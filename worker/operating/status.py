"""How the whole system stands at this moment, and what of it somebody should look at. Reads only."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy import Connection, text

from worker.clock import schedule
from worker.clock.entries import Line
from worker.clock.schedule import EntryStatus
from worker.operating import backlogs, numbers
from worker.operating.budgets import Budget, budgets
from worker.operating.inspection import QueueStatus, queues
from worker.operating.providers import Gate, Provider, providers
from worker.pauses import Pause
from worker.process.presence import AT_WORK_FOR

LATE = timedelta(minutes=5)
LATE_UPKEEP = timedelta(minutes=30)
MANY_FAILURES = 50
NEARLY = Decimal("0.9")
LONG_TRANSACTION = timedelta(minutes=10)
OVERDUE = timedelta(hours=36)
"""Thresholds as deploy/prometheus/alerts.yml has them."""


@dataclass(frozen=True, slots=True)
class Process:
    """One that was seen a moment ago. `queues` is empty while it ends."""

    owner: str
    hostname: str
    pid: int
    queues: list[str]
    in_flight: int
    calls_in_flight: int
    started_at: datetime
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Failures:
    """Jobs of a kind that failed with a code in the last hour."""

    kind: str
    code: str
    count: int


@dataclass(frozen=True, slots=True)
class Status:
    """`has_redis`: the gates were read, so what is missing there isn't there. `oldest_transaction` is of any client.

    `masking_overdue` and `retention_overdue` are by table. `partitions_ahead` counts the audit trail's months after
    this one, `strays` the rows of its default partition.
    """

    at: datetime
    has_redis: bool
    processes: list[Process]
    queues: list[QueueStatus]
    pauses: list[Pause]
    providers: list[Provider]
    schedule: list[EntryStatus]
    budgets: list[Budget]
    failures: list[Failures]
    quarantined: int
    oldest_transaction: timedelta
    masking_overdue: dict[str, timedelta]
    retention_overdue: dict[str, timedelta]
    partitions_ahead: int
    strays: int


@dataclass(frozen=True, slots=True)
class Alarm:
    """`name` is a section of docs/runbook.md; `what` a sentence."""

    name: str
    what: str


def status(connection: Connection, lines: Sequence[Line], gates: Mapping[tuple[str, str], Gate] | None) -> Status:
    """Everything in one snapshot; `lines` is the clock, `gates` None where Redis is away."""
    at, quarantined = connection.execute(_NOW).one()
    known_queues, pauses = queues(connection)
    failures = [Failures(kind, code, count) for kind, code, count, _ in numbers.failed(connection) if count]
    partitions_ahead, strays = backlogs.audit_partitions(connection)
    return Status(
        at=at,
        has_redis=gates is not None,
        processes=[Process(*row) for row in connection.execute(_PROCESSES, {"at_work_for": AT_WORK_FOR})],
        queues=known_queues,
        pauses=pauses,
        providers=providers(connection, gates or {}),
        schedule=schedule.status(connection, lines),
        budgets=budgets(connection),
        failures=sorted(failures, key=lambda failed: -failed.count),
        quarantined=quarantined,
        oldest_transaction=timedelta(seconds=numbers.oldest_transaction_s(connection)),
        masking_overdue=_lengths({table: due[0] for table, due in backlogs.unmasked(connection).items()}),
        retention_overdue=_lengths(backlogs.retained_too_long(connection)),
        partitions_ahead=partitions_ahead,
        strays=strays,
    )


def _lengths(seconds: Mapping[str, float]) -> dict[str, timedelta]:
    return {name: timedelta(seconds=length) for name, length in seconds.items()}


_NOW = text("SELECT now(), (SELECT count(*) FROM job WHERE state = 'failed' AND error_code = 'worker_died')")

_PROCESSES = text(
    """
    SELECT owner, hostname, pid, queues, in_flight, calls_in_flight, started_at, seen_at
    FROM worker_process WHERE seen_at > now() - :at_work_for ORDER BY queues, hostname, pid
    """
)


def alarms(status: Status) -> list[Alarm]:
    """What deploy/prometheus/alerts.yml would raise for this state if it lasted, as far as one look can tell."""
    return list(_alarms(status))


def _alarms(status: Status) -> Iterator[Alarm]:
    for queue in status.queues:
        if queue.oldest_due is None:
            continue
        waits = f"the oldest due job of {queue.queue} waits for {_length(queue.oldest_due)}"
        if not queue.workers and queue.oldest_due > timedelta(minutes=1):
            yield Alarm("WorkerNobodyListens", f"Nobody listens to {queue.queue}; {waits}.")
        if queue.oldest_due > (LATE_UPKEEP if queue.queue == "maintenance" else LATE):
            yield Alarm("WorkerJobsWaitTooLong", f"{waits[0].upper()}{waits[1:]}.")
    if status.quarantined:
        yield Alarm("WorkerJobsQuarantined", f"{status.quarantined} jobs killed their worker three times.")
    for failed in status.failures:
        if failed.count > MANY_FAILURES:
            yield Alarm("WorkerJobsFail", f"{failed.count} {failed.kind} failed with {failed.code} in the last hour.")
    for provider in status.providers:
        if provider.gate is not None and provider.gate.breaker != "closed":
            word = "open" if provider.gate.breaker == "open" else "waiting for its probe"
            yield Alarm("WorkerBreakerOpen", f"The breaker of {provider.integration} is {word}.")
    for budget in status.budgets:
        if budget.hard_limit is not None and budget.spent > NEARLY * budget.hard_limit:
            yield Alarm(
                "WorkerBudgetNearlyUsed", f"{budget.tenant} has spent {budget.spent} of {budget.hard_limit} dollars."
            )
    for entry in status.schedule:
        if entry.overdue_since is not None:
            yield Alarm("WorkerClockEntryOverdue", f"{entry.name} has not succeeded for twice its period.")
    for name, overdue in (("Masking", status.masking_overdue), ("Retention", status.retention_overdue)):
        for table, length in overdue.items():
            if length > OVERDUE:
                yield Alarm(
                    f"Worker{name}Overdue", f"The oldest row of {table} has been overdue for {_length(length)}."
                )
    if status.partitions_ahead < 1:
        yield Alarm("WorkerPartitionMissing", "The audit trail has no partition for next month.")
    if status.strays:
        yield Alarm("WorkerDefaultPartitionHasRows", "Rows of the audit trail have no partition of their month.")
    if status.oldest_transaction > LONG_TRANSACTION:
        yield Alarm("WorkerLongTransaction", f"A transaction is {_length(status.oldest_transaction)} old.")


def _length(length: timedelta) -> str:
    hours, minutes = divmod(round(length.total_seconds() / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
