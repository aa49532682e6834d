"""What PostgreSQL and Redis say of the whole system, for Prometheus. Every API process tells the same.

Read when somebody asks, and kept for a few seconds (`_FRESH_S`) or a minute (`_SLOW_S`), so that several scrapers cost
no more than one. Where a server is away, or takes too long, its series are missing for as long, and
`worker_system_metrics_up` of that part is 0.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Connection, text

from worker.api.provider_gauges import provider_gauges
from worker.clock.schedule import missed_runs, since_success
from worker.database import DATABASE_ERRORS, Database
from worker.health.readiness import PATIENCE_S
from worker.metrics import LABEL_VALUES_MAX, OTHER
from worker.operating import backlogs, numbers, providers
from worker.operating.budgets import budgets
from worker.settings import Settings

_log = structlog.get_logger(__name__)

_FRESH_S = 5.0
_SLOW_S = 60.0

_AT_MOST = text("SET LOCAL statement_timeout = '5s'")


class SystemCollector(Collector):
    """One series for each kind, code, entry and budget: as many as the program and its operators have made."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._redis: Any = Redis.from_url(
            settings.redis_url.get_secret_value(),
            socket_timeout=PATIENCE_S,
            socket_connect_timeout=PATIENCE_S,
            decode_responses=True,
        )
        self._parts = (
            _Part("queues", _FRESH_S, _of_database(database, _queues)),
            _Part("money", _FRESH_S, _of_database(database, _money)),
            _Part("clock", _FRESH_S, _of_database(database, _clock)),
            _Part("database", _FRESH_S, _of_database(database, _database)),
            _Part("redis", _FRESH_S, lambda: _skew("machine_redis", self._redis_ahead_s())),
            _Part("providers", _FRESH_S, lambda: provider_gauges(*providers.read(self._redis))),
            _Part("calls", _SLOW_S, _of_database(database, _calls)),
            _Part("upkeep", _SLOW_S, _of_database(database, _upkeep)),
        )

    def close(self) -> None:
        self._redis.close()

    def describe(self) -> Iterable[Metric]:
        """Nothing is read when this is registered."""
        return ()

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("worker_system_metrics_up", "Whether this part could be read.", labels=("part",))
        families: dict[str, Metric] = {}
        for part in self._parts:
            found = part.read()
            up.add_metric((part.name,), found is not None)
            for family in found or ():
                if (known := families.setdefault(family.name, family)) is not family:
                    known.samples.extend(family.samples)
        yield from (*families.values(), up)

    def _redis_ahead_s(self) -> float:
        before = time.time()
        seconds, micros = self._redis.time()
        return float(seconds) + float(micros) / 1e6 - (before + time.time()) / 2


class _Part:
    """Series that are read together, and kept for a while."""

    def __init__(self, name: str, keeps_s: float, read: Callable[[], list[Metric]]) -> None:
        self.name = name
        self._keeps_s = keeps_s
        self._read = read
        self._reading = threading.Lock()
        self._found: list[Metric] | None = None
        self._read_at = -keeps_s

    def read(self) -> list[Metric] | None:
        """None where it can't be read now."""
        with self._reading:  # whoever comes meanwhile gets what is being read
            if time.monotonic() - self._read_at >= self._keeps_s:
                try:
                    self._found = self._read()
                except (*DATABASE_ERRORS, RedisError) as error:
                    self._found = None
                    _log.warning("metrics.not_read", problem=self.name, error=type(error).__name__)
                self._read_at = time.monotonic()
            return self._found


def _of_database(database: Database, read: Callable[[Connection], Iterable[Metric]]) -> Callable[[], list[Metric]]:
    def reading() -> list[Metric]:
        with database.transaction() as connection:
            connection.execute(_AT_MOST)
            return list(read(connection))

    return reading


def _queues(connection: Connection) -> Iterator[Metric]:
    ready = _gauge("worker_queue_ready_jobs", "Due now.", "queue", "kind", "tenant_class")
    oldest = _gauge("worker_queue_oldest_ready_seconds", "How long it has been due.", "queue", "kind")
    waiting = _gauge("worker_queue_waiting_jobs", "Not now, by what for.", "queue", "kind", "reason")
    ages: dict[tuple[str, str], float] = {}
    others: dict[tuple[str, str, str], int] = {}
    for line in numbers.waiting(connection):
        lane = (line.queue, line.kind)
        if line.reason == "ready":
            ready.add_metric((*lane, line.tenant_class), line.jobs)
            ages[lane] = max(ages.get(lane, 0.0), line.oldest_s or 0.0)
        else:
            others[*lane, line.reason] = others.get((*lane, line.reason), 0) + line.jobs
    for lane, age in ages.items():
        oldest.add_metric(lane, age)
    for labels, jobs in others.items():
        waiting.add_metric(labels, jobs)
    running = _gauge("worker_queue_running_jobs", "By the ledger.", "queue", "kind")
    for queue, kind, jobs in numbers.running(connection):
        running.add_metric((queue, kind), jobs)
    processes = _gauge("worker_processes", "At work, by what they take jobs from.", "role")
    for queue, count in numbers.processes(connection):
        processes.add_metric((queue,), count)
    yield from (ready, oldest, waiting, running, processes, *_failed(connection))


def _failed(connection: Connection) -> Iterator[Metric]:
    failed = _gauge("worker_jobs_failed_recent", "In the last hour, of the latest failures.", "kind", "code")
    quarantined = _gauge("worker_jobs_quarantined", "Their workers died, in the last day.", "kind")
    of_hour: dict[tuple[str, str], int] = {}
    dead: dict[str, int] = {}
    for kind, code, in_hour, in_day in numbers.failed(connection):
        label = (kind, code if (kind, code) in of_hour or len(of_hour) < LABEL_VALUES_MAX else OTHER)
        of_hour[label] = of_hour.get(label, 0) + in_hour
        dead[kind] = dead.get(kind, 0) + (in_day if code == "worker_died" else 0)
    for labels, count in of_hour.items():
        failed.add_metric(labels, count)
    for kind, count in dead.items():
        quarantined.add_metric((kind,), count)
    yield from (failed, quarantined)


def _money(connection: Connection) -> Iterator[Metric]:
    spent = _gauge("worker_budget_spent_usd", "Of today, in UTC.", "tenant")
    limits = _gauge("worker_budget_limit_usd", "Of a day, in UTC.", "tenant", "limit")
    waiting = _gauge("worker_budget_waiting_jobs", "Held back by a used-up budget.", "tenant")
    for budget in budgets(connection):
        spent.add_metric((budget.tenant,), float(budget.spent))
        waiting.add_metric((budget.tenant,), budget.waiting)
        for name, limit in (("soft", budget.soft_limit), ("hard", budget.hard_limit)):
            if limit is not None:
                limits.add_metric((budget.tenant, name), float(limit))
    yield from (spent, limits, waiting)


def _clock(connection: Connection) -> Iterator[Metric]:
    missed = CounterMetricFamily("worker_clock_missed_runs", "Slots that passed without a run.", labels=("entry",))
    for entry, count in missed_runs(connection).items():
        missed.add_metric((entry,), count)
    age = _gauge("worker_clock_last_success_age_seconds", "Since a run was done, or since beats know it.", "entry")
    overdue = _gauge("worker_clock_overdue", "Nothing has succeeded for twice its period.", "entry")
    for entry, (length, is_overdue) in since_success(connection).items():
        age.add_metric((entry,), length.total_seconds())
        overdue.add_metric((entry,), is_overdue)
    yield from (missed, age, overdue)


def _database(connection: Connection) -> Iterator[Metric]:
    oldest = _gauge("worker_database_oldest_transaction_seconds", "Vacuum waits for it.")
    oldest.add_metric((), numbers.oldest_transaction_s(connection))
    yield oldest
    before = time.time()
    there = numbers.database_clock(connection)
    yield from _skew("machine_database", there - (before + time.time()) / 2)


def _skew(between: str, seconds: float) -> list[Metric]:
    skew = _gauge("worker_clock_skew_seconds", "How far the second is ahead of the first.", "between")
    skew.add_metric((between,), seconds)
    return [skew]


def _calls(connection: Connection) -> Iterator[Metric]:
    calls = _gauge("worker_provider_paid_calls_today", "Calls that left today, in UTC.", "integration", "reason")
    cost = _gauge("worker_provider_cost_today_usd", "What they cost, where a price is known.", "integration")
    costs: dict[str, float] = {}
    for integration, reason, count, price in backlogs.paid_calls(connection):
        calls.add_metric((integration, reason), int(count))
        costs[integration] = costs.get(integration, 0.0) + float(price)
    for integration, price in costs.items():
        cost.add_metric((integration,), price)
    yield from (calls, cost)


def _upkeep(connection: Connection) -> Iterator[Metric]:
    due = backlogs.unmasked(connection)
    unmasked = _gauge("worker_masking_overdue_rows", "Due for masking, of each table at most 10,000.")
    unmasked.add_metric((), sum(rows for _, rows in due.values()))
    oldest = _gauge("worker_masking_oldest_overdue_seconds", "How long the oldest has been due.")
    oldest.add_metric((), max((seconds for seconds, _ in due.values()), default=0.0))
    kept = _gauge("worker_retention_oldest_overdue_seconds", "How long the oldest should have been gone.", "table")
    for table, seconds in backlogs.retained_too_long(connection).items():
        kept.add_metric((table,), seconds)
    months, strays = backlogs.audit_partitions(connection)
    ahead = _gauge("worker_partitions_months_ahead", "Months after this one that have theirs.", "table")
    ahead.add_metric(("audit_logs",), months)
    default = _gauge("worker_partitions_default_rows", "Rows without one, at most 10,000.", "table")
    default.add_metric(("audit_logs",), strays)
    yield from (unmasked, oldest, kept, ahead, default)


def _gauge(name: str, about: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, about, labels=labels)
