"""What one process did, for Prometheus: how its jobs ended, what took how long, and what it holds at this moment.

One object a process; `worker/health` shows it. Called once for a batch wherever there is one: the engine does thousands
of jobs a second. Names:

    worker_jobs_ended_total{kind,outcome}           done, retry, snooze, failed, expired, cancelled
    worker_job_failures_total{kind,code}            what retries and failures were for
    worker_job_phase_seconds{kind,phase}            see `worker/phases.py`
    worker_leases_lost_total{kind}                  runs whose job was somebody else's at the end
    worker_jobs_in_flight, worker_jobs_room         jobs of this process, and how many it works on at most
    worker_database_connections_in_use, _max        of this process's pool
    worker_provider_calls_total{integration,outcome}
    worker_last_progress_timestamp_seconds          of the last claim or finish, of beat its last look

Labels are words of the program or of its configuration. So that no mistake elsewhere can fill Prometheus' memory, each
label takes `LABEL_VALUES_MAX` values of a process; whatever comes then is counted as `other`.
"""

import time
from collections import Counter as Tally
from collections.abc import Callable, Collection, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, generate_latest
from prometheus_client.registry import Collector
from sqlalchemy import QueuePool

from worker.database import Database
from worker.phases import Phase, Phases

LABEL_VALUES_MAX = 100
OTHER = "other"

_FAILURES = ("retry", "failed")


class Metrics:
    """Of one process; threads may share it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._ended = Counter(
            "worker_jobs_ended_total", "Runs by how they ended.", ("kind", "outcome"), registry=self.registry
        )
        self._failures = Counter(
            "worker_job_failures_total", "What retries and failures were for.", ("kind", "code"), registry=self.registry
        )
        self._phases = Phases()
        self.registry.register(self._phases)
        self._lost = Counter(
            "worker_leases_lost_total", "Runs whose job was somebody else's at the end.", ("kind",),
            registry=self.registry,
        )  # fmt: skip
        self._calls = Counter(
            "worker_provider_calls_total", "Calls by what became of them.", ("integration", "outcome"),
            registry=self.registry,
        )  # fmt: skip
        self._progress = Gauge(
            "worker_last_progress_timestamp_seconds",
            "Of the last claim or finish, or look at the clock.",
            registry=self.registry,
        )
        self._codes, self._integrations, self._outcomes = _Bounded(), _Bounded(), _Bounded()
        self._called: dict[tuple[str, str], Counter] = {}

    def claimed(self, kind: str, waited_s: Sequence[float], load_s: float) -> None:
        """One transaction has claimed and loaded jobs that had been due for so long each."""
        if not waited_s:
            return
        self._phases.took(kind, "queue", waited_s)
        self._phases.took(kind, "load", [load_s] * len(waited_s))
        self._progress.set(time.time())

    def ended(self, kind: str, ends: Collection[tuple[str, str | None]], save_s: float) -> None:
        """One transaction has saved runs, that ended with these outcomes and codes."""
        if not ends:
            return
        self._phases.took(kind, "save", [save_s] * len(ends))
        for (outcome, code), count in Tally(ends).items():
            self._ended.labels(kind, outcome).inc(count)
            if outcome in _FAILURES and code:
                self._failures.labels(kind, self._codes(code)).inc(count)
        self._progress.set(time.time())

    def progressed(self) -> None:
        """Something came forward that is neither claim nor finish: a beat has looked at the clock."""
        self._progress.set(time.time())

    def lost(self, kind: str, jobs: int = 1) -> None:
        """So many runs ended with nothing to say: their jobs belong to somebody else."""
        self._lost.labels(kind).inc(jobs)

    def took(self, kind: str, phase: Phase, seconds: float) -> None:
        self._phases.took(kind, phase, (seconds,))

    def called(self, integration: str, outcome: str) -> None:
        """A provider was asked. `outcome` is the code of what that meant."""
        labels = self._integrations(integration), self._outcomes(outcome)
        if (counter := self._called.get(labels)) is None:
            counter = self._called[labels] = self._calls.labels(*labels)
        counter.inc()

    def gauge(self, name: str, about: str, read: Callable[[], float]) -> None:
        """Tell of something that `read` knows at the moment of asking."""
        Gauge(name, about, registry=self.registry).set_function(read)

    def watch_pool(self, database: Database) -> None:
        """Tell of the connections of a database's pool."""

        def of_the_pool(count: Callable[[QueuePool], int]) -> Callable[[], float]:
            def read() -> float:
                pool = database.engine.pool  # another one after each outage
                return count(pool) if isinstance(pool, QueuePool) else 0

            return read

        for name, count in (("in_use", QueuePool.checkedout), ("max", QueuePool.size)):
            self.gauge(f"worker_database_connections_{name}", "Of this process.", of_the_pool(count))

    def register(self, collector: Collector) -> None:
        """Have a kind's own collector asked at each scrape."""
        self.registry.register(collector)

    def unregister(self, collector: Collector) -> None:
        self.registry.unregister(collector)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)


class _Bounded:
    """Lets the first `LABEL_VALUES_MAX` values of a label pass."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def __call__(self, value: str) -> str:
        if value in self._seen:
            return value
        if len(self._seen) >= LABEL_VALUES_MAX:
            return OTHER
        self._seen.add(value)
        return value
