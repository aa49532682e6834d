"""Each alarm fires when what it is about has really happened, and none fires while all is well.

The database and the processes' objects are real and are put into the bad state; what they then expose as text is what
the alarm's expression is evaluated on. How long a state has to last (`for`) is Prometheus' own affair.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import psycopg
import pytest
import time_machine
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import SecretStr
from sqlalchemy import text

from tests.api.served import served
from tests.conftest import DatabaseUrls
from tests.deploy.files import alarms, all_expressions
from tests.deploy.promql import Scrape, Vector, evaluate, names_in, scraped
from tests.migrations.rows import only, request
from tests.waiting import until
from tests.worker.health.test_port import answers, ask, listening
from worker import ledger
from worker.api.metrics import Metrics as ApiMetrics
from worker.api.system_metrics import SystemCollector
from worker.database import Database
from worker.health.port import Answers
from worker.hints import Hints
from worker.metrics import Metrics
from worker.operating.budgets import set_budget
from worker.outcomes import Snooze
from worker.process.dispatcher import Dispatcher
from worker.process.room import Room
from worker.process.runtime import Runtime
from worker.settings import Settings
from worker.verdict import judge

QUEUES = ("verification", "rating", "maintenance")


@dataclass
class System:
    """A worker's and an API's metrics on a real database, which `owner` may put into any state."""

    settings: Settings
    db: Database
    owner: psycopg.Connection
    worker: Metrics
    api: ApiMetrics
    dispatcher_silent_s: Callable[[], float] = lambda: 0.5

    def scrape(self, at: float = 0.0) -> Scrape:
        """All that two API processes and a worker expose now."""
        worker = scraped(at, self.worker.text().decode(), job="worker", instance="worker:1").series
        up = scraped(at, 'up{job="worker",instance="worker:1"} 1').series
        own = scraped(at, self.api.text().decode(), job="worker-api", instance="api:1").series
        apis = [
            self._system(at, f"api:{number}") for number in (1, 2)
        ]  # last: read anew, where `own` keeps for a while
        return Scrape(at, {**worker, **up, **own, **apis[0], **apis[1]})

    def _system(self, at: float, instance: str) -> Vector:
        return scraped(at, system_text(self.db, self.settings), job="worker-api", instance=instance).series

    def listen(self, *queues: str) -> None:
        """As a worker of these queues says that it is there."""
        self.owner.execute(
            "INSERT INTO worker_process (owner, queues, hostname, pid, in_flight, calls_in_flight)"
            " VALUES (%s, %s, 'host', 1, 0, 64)",
            [str(uuid4()), list(queues)],
        )

    def ask(self, kind: str, queue: str, jobs: int = 1) -> None:
        self.owner.execute(
            "INSERT INTO job (kind, queue, max_attempts) SELECT %s, %s, 3 FROM generate_series(1, %s)",
            [kind, queue, jobs],
        )


def system_text(db: Database, settings: Settings) -> str:
    registry = CollectorRegistry()
    collector = SystemCollector(db, settings)
    registry.register(collector)
    try:
        return generate_latest(registry).decode()
    finally:
        collector.close()


@pytest.fixture
def system(settings: Settings, db: Database, database: DatabaseUrls) -> Iterator[System]:
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        worker, api = Metrics(), ApiMetrics()
        worker.watch_pool(db)
        api.watch(db, settings)
        system = System(settings, db, owner, worker, api)
        worker.gauge("worker_dispatcher_last_round_seconds", "How long ago.", lambda: system.dispatcher_silent_s())
        for queue in QUEUES:
            system.listen(queue)
        yield system
        api.close()


def firing(*scrapes: Scrape) -> dict[str, Vector]:
    """The alarms whose expression holds, with the series it holds for."""
    found = {name: evaluate(alarm.expression, *scrapes) for name, alarm in alarms().items()}
    return {name: series for name, series in found.items() if series}


def test_nothing_fires_while_all_is_well(system: System) -> None:
    before = system.scrape()
    system.ask("verification.verify", "verification")
    system.worker.ended("verification.verify", [("done", None)], 0.01)
    system.api.answered("GET", "/healthz", 200, 0.01)
    assert firing(before, system.scrape(60)) == {}


Provoked = Iterator[Scrape]
"""Scrapes in order of time; the alarm is asked for at the last one."""


def metrics_absent(system: System) -> Provoked:
    nowhere = SecretStr("postgresql://app:x@127.0.0.1:1/none")
    away = Database(system.settings.model_copy(update={"database_url": nowhere}))
    yield scraped(0, system_text(away, system.settings))
    away.close()


def process_not_scraped(system: System) -> Provoked:
    """Asked at its port while it is there and after it has gone."""

    def visit(at: float, port: int) -> Scrape:
        is_up = answers(port)
        said = ask(port, "/metrics")[1] if is_up else ""
        up = scraped(at, f'up{{job="worker",instance="worker:1"}} {is_up:d}').series
        return Scrape(at, {**scraped(at, said, job="worker", instance="worker:1").series, **up})

    with listening(Answers(system.worker.text, dict, dict)) as port:
        there = visit(0, port)
        assert not evaluate(alarms()["WorkerProcessNotScraped"].expression, there)
    yield visit(60, port)


def clock_skew(system: System) -> Provoked:
    with time_machine.travel(time.time() + 60):
        yield system.scrape()


def nobody_listens(system: System) -> Provoked:
    system.owner.execute("DELETE FROM worker_process WHERE queues = '{rating}'")
    yield system.scrape()


def jobs_wait_too_long(system: System) -> Provoked:
    system.ask("verification.verify", "verification")
    system.owner.execute("UPDATE job SET run_at = now() - interval '6 minutes'")
    yield system.scrape()


def jobs_quarantined(system: System) -> Provoked:
    system.ask("verification.verify", "verification")
    for _ in range(ledger.DEATHS_BEFORE_BURIAL):
        with system.db.transaction() as connection:
            connection.execute(text("UPDATE job SET run_at = now()"))
            ids = connection.execute(text("SELECT id FROM job")).scalars().all()
            ledger.claim(connection, ids, owner="a worker that dies", lease=timedelta(0))
        with system.db.transaction() as connection:
            assert ledger.rescue(connection, limit=10) == 1
    yield system.scrape()


def fail(system: System, kind: str, queue: str, jobs: int) -> None:
    system.ask(kind, queue, jobs)
    system.owner.execute(
        "UPDATE job SET state = 'failed', finished_at = now(), error_code = 'invalid_answer', error_message = 'No.'"
    )


def jobs_fail(system: System) -> Provoked:
    fail(system, "verification.verify", "verification", 51)
    yield system.scrape()


def nightly_job_failed(system: System) -> Provoked:
    fail(system, "masking.sweep", "maintenance", 1)
    yield system.scrape()


def leases_lost(system: System) -> Provoked:
    system.worker.lost("verification.verify")
    yield system.scrape()
    system.worker.lost("verification.verify")
    yield system.scrape(60)


def dispatcher_silent(system: System) -> Provoked:
    """A real one, which PostgreSQL does not let at the jobs."""
    hints = Hints(system.settings.celery_broker_url)
    dispatcher = Dispatcher(system.settings, system.db, hints, Room(1), ["verification"])
    system.dispatcher_silent_s = lambda: dispatcher.thread.silent_s
    with system.owner.transaction():
        system.owner.execute("LOCK TABLE job IN ACCESS EXCLUSIVE MODE")
        dispatcher.start()
        until(lambda: dispatcher.thread.silent_s > 1)
        yield scraped(0, system.worker.text().decode(), job="worker", instance="worker:1")
    dispatcher.close()
    hints.close()


def pool_exhausted(system: System) -> Provoked:
    with ExitStack() as held:
        for _ in range(system.settings.database_pool_size):
            held.enter_context(system.db.engine.connect())
        worker = scraped(0, system.worker.text().decode(), job="worker", instance="worker:1")
        yield worker


def budget_nearly_used(system: System) -> Provoked:
    with system.db.transaction() as connection:
        set_budget(connection, "T1", "somebody", soft=None, hard=Decimal(10))
    system.owner.execute(
        "INSERT INTO call_budget_day (tenant, day, spent) VALUES ('T1', (now() AT TIME ZONE 'UTC')::date, 9.5)"
    )
    yield system.scrape()


def entry(system: System, **values: object) -> None:
    insert_entry = "INSERT INTO schedule_entry (name, decided_until, missed, counts_since) VALUES (%s, now(), %s, %s)"
    counts_since = values.get("counts_since", datetime.now(UTC))
    system.owner.execute(insert_entry, ["tokens.expire", values.get("missed", 0), counts_since])


def clock_entry_overdue(system: System) -> Provoked:
    entry(system, counts_since="2026-01-01T00:00:00Z")
    yield system.scrape()


def runs_missed(system: System) -> Provoked:
    entry(system, missed=2)
    yield system.scrape()
    system.owner.execute("UPDATE schedule_entry SET missed = 3")
    yield system.scrape(60)


def masking_overdue(system: System) -> Provoked:
    old = request(system.owner, request_status="completed", request_body={"a": 1})
    system.owner.execute(
        "UPDATE integration_request SET created_at = now() - interval '1 day' * (1 + 1 + ("
        " SELECT mask_after_days FROM data_retention_policies WHERE table_name = 'integration_request')) WHERE id = %s",
        [old],
    )
    yield system.scrape()


def retention_overdue(system: System) -> Provoked:
    old = request(system.owner, request_status="completed")
    system.owner.execute(
        "UPDATE integration_request SET created_at = now() - interval '1 day' * (1 + 1 + ("
        " SELECT retention_days FROM data_retention_policies WHERE table_name = 'integration_request')) WHERE id = %s",
        [old],
    )
    yield system.scrape()


def partition_missing(system: System) -> Provoked:
    next_month = only(system.owner, "SELECT to_char(now() AT TIME ZONE 'UTC' + interval '1 month', 'YYYY_MM')")
    system.owner.execute(f"DROP TABLE audit_logs_{next_month}".encode())
    yield system.scrape()


def default_partition_has_rows(system: System) -> Provoked:
    system.owner.execute(
        "INSERT INTO audit_logs (action, resource_type, created_at) VALUES ('a', 'r', now() + interval '3 years')"
    )
    yield system.scrape()


def breaker_open(system: System) -> Provoked:
    system.ask("verification.verify", "verification")
    with system.db.transaction() as connection:
        ids = connection.execute(text("SELECT id FROM job")).scalars().all()
        [job] = ledger.claim(connection, ids, owner="a worker", lease=timedelta(minutes=1))
        snooze: Snooze[None] = Snooze(
            "breaker of dcs.example open", timedelta(seconds=30)
        )  # as `act` of a verification says it
        ledger.finish(connection, [(job, judge(job, snooze))])
    yield system.scrape()


def long_transaction(system: System) -> Provoked:
    with psycopg.connect(system.settings.database_url.get_secret_value()) as forgotten:
        forgotten.execute("SELECT 1")
        time.sleep(0.1)
        yield system.scrape()


def api_fails(system: System) -> Provoked:
    """A real one, whose database is away."""
    nowhere = SecretStr("postgresql://app:x@127.0.0.1:1/none")
    with served(system.settings.model_copy(update={"database_url": nowhere})) as api:

        def asked(at: float, times: int) -> Scrape:
            for _ in range(times):
                assert api.call("GET", "/v1/jobs", "a token").status == 503
            with api.ask("GET", "/metrics") as answer:
                return scraped(at, answer.read().decode(), job="worker-api", instance="api:1")

        yield asked(0, 1)
        yield asked(60, 31)


PROVOKED: dict[str, Callable[[System], Provoked]] = {
    "WorkerMetricsAbsent": metrics_absent,
    "WorkerProcessNotScraped": process_not_scraped,
    "WorkerClockSkew": clock_skew,
    "WorkerNobodyListens": nobody_listens,
    "WorkerJobsWaitTooLong": jobs_wait_too_long,
    "WorkerJobsQuarantined": jobs_quarantined,
    "WorkerJobsFail": jobs_fail,
    "WorkerNightlyJobFailed": nightly_job_failed,
    "WorkerLeasesLost": leases_lost,
    "WorkerDispatcherSilent": dispatcher_silent,
    "WorkerPoolExhausted": pool_exhausted,
    "WorkerBreakerOpen": breaker_open,
    "WorkerBudgetNearlyUsed": budget_nearly_used,
    "WorkerClockEntryOverdue": clock_entry_overdue,
    "WorkerRunsMissed": runs_missed,
    "WorkerMaskingOverdue": masking_overdue,
    "WorkerRetentionOverdue": retention_overdue,
    "WorkerPartitionMissing": partition_missing,
    "WorkerDefaultPartitionHasRows": default_partition_has_rows,
    "WorkerLongTransaction": long_transaction,
    "WorkerApiFails": api_fails,
}

TOO_LONG_TO_WAIT = {"WorkerLongTransaction": ("> 600", "> 0.05"), "WorkerDispatcherSilent": ("> 60", "> 1")}
"""The limit is lowered where a real thing would have to be waited for: PostgreSQL's own clock says how old a
transaction is, and a thread's how long it has been silent."""


OF_PROMETHEUS = {"up", "ALERTS"}


def test_every_metric_that_anybody_asks_for_is_exposed(system: System) -> None:
    runtime = Runtime(system.settings, ["verification"])
    try:
        said = runtime.metrics.text() + system.api.text()
    finally:
        runtime.close()
    exposed = set(re.findall(r"^# TYPE (\w+) (?:gauge|counter)$", said.decode(), re.MULTILINE))
    for histogram in re.findall(r"^# TYPE (\w+) histogram$", said.decode(), re.MULTILINE):
        exposed |= {f"{histogram}_{part}" for part in ("sum", "count", "bucket")}
    asked = {name for expression in all_expressions() for name in names_in(expression)}
    assert asked - exposed - OF_PROMETHEUS == set()


def test_every_alarm_is_provoked() -> None:
    assert set(PROVOKED) == set(alarms())


@pytest.mark.parametrize("name", PROVOKED)
def test_alarm_fires(system: System, name: str) -> None:
    limit = TOO_LONG_TO_WAIT.get(name, ("", ""))
    expression = alarms()[name].expression.replace(*limit)
    assert expression != alarms()[name].expression or limit == ("", "")
    scrapes = list(PROVOKED[name](system))
    assert evaluate(expression, *scrapes), f"{name} stays silent"
