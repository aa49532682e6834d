"""Retention against the least that its work can cost: one plain DELETE of the same rows with the same dependents.

Each round removes the same rows from two copies of one database, the plain way and by a worker. A worker also looks at
holds, policies and whatever refers to a row, keeps others waiting for no longer than a moment, and writes a record.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.maintenance.rows import add_requests, settle
from benchmarks.maintenance.system import System, ask, ended, maintenance_worker, system, wait_for


@dataclass(frozen=True, slots=True)
class Round:
    """Times in seconds; `longest_ms` is the worker's longest transaction, `late_ms` how much of one may have been
    missed."""

    rows: int
    plain_s: float
    plain_cpu_s: float
    sweep_s: float
    sweep_cpu_s: float
    longest_ms: float
    late_ms: float

    @property
    def throughput(self) -> float:
        """Of the plain DELETE's: the bar is 0.8."""
        return self.plain_s / self.sweep_s

    @property
    def cpu(self) -> float:
        """PostgreSQL's, the plain way's share of the worker's: what is left of noise on a busy machine."""
        return self.plain_cpu_s / self.sweep_cpu_s


@dataclass
class _Watch:
    """PostgreSQL's CPU time by process, and the longest transaction seen, looked at every few milliseconds."""

    cpu: dict[int, float] = field(default_factory=dict)
    longest_ms: float = 0.0
    late_ms: float = 0.0


def run(rows: int = 500_000, rounds: int = 3, directory: Path | None = None) -> list[Round]:
    """Remove so many rows, half of them requests and half results, of a database with twice as many."""
    with system(directory) as here:
        with here.owner() as owner:
            add_requests(owner, rows // 2)
            add_requests(owner, rows // 2, days=100)
            settle(owner)
        return [_round(here) for _ in range(rounds)]


def _round(here: System) -> Round:
    with here.copy("plain") as name:
        plain_s, plain_cpu_s, rows = _plainly(here, name)
    with here.copy("swept") as name:
        sweep_s, watch, swept = _by_a_worker(here, name)
    if swept != rows:
        raise RuntimeError(f"the plain DELETE removed {rows} rows, the worker {swept}")
    return Round(rows, plain_s, plain_cpu_s, sweep_s, sum(watch.cpu.values()), watch.longest_ms, watch.late_ms)


def _plainly(here: System, database: str) -> tuple[float, float, int]:
    with here.application(database) as connection:
        pid = connection.info.backend_pid
        before, start = _cpu_s(pid), time.monotonic()
        results = connection.execute(_PLAIN_RESULTS).rowcount
        requests = connection.execute(_PLAIN_REQUESTS).rowcount
        connection.commit()
        return time.monotonic() - start, _cpu_s(pid) - before, results + requests


_PLAIN_RESULTS = """
    DELETE FROM integration_verification_result WHERE request_id IN (
        SELECT id FROM integration_request WHERE created_at < now() - interval '2555 days'
    )
"""
_PLAIN_REQUESTS = "DELETE FROM integration_request WHERE created_at < now() - interval '2555 days'"


def _by_a_worker(here: System, database: str) -> tuple[float, _Watch, int]:
    with (
        here.processes(maintenance_worker(), database=database, workers=1),
        here.owner(database) as owner,
        _watching(here, database) as watch,
    ):
        job = ask(owner, "retention.sweep")
        wait_for(lambda: ended(owner, job))
        (took, removed) = owner.execute(
            """
            SELECT extract(epoch FROM finished_at - started_at),
                (SELECT coalesce(sum(deleted_count), 0) FROM retention_run_items)
            FROM job WHERE id = %s
            """,
            [job],
        ).fetchone() or (0, 0)
    return float(took), watch, int(removed)


@contextmanager
def _watching(here: System, database: str) -> Iterator[_Watch]:
    watch, is_over = _Watch(), threading.Event()

    def look() -> None:
        with here.administrator(database) as admin:
            last = time.monotonic()
            while not is_over.wait(0.005):
                found = admin.execute(_TRANSACTIONS, [database]).fetchall()
                for pid, length_ms in found:
                    watch.longest_ms = max(watch.longest_ms, length_ms or 0.0)
                    watch.cpu[pid] = _cpu_s(pid, watch.cpu.get(pid, 0.0))
                now = time.monotonic()
                watch.late_ms, last = max(watch.late_ms, (now - last) * 1000), now

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield watch
    finally:
        is_over.set()
        thread.join()


# Of transactions that have written something: what only reads holds nobody up.
_TRANSACTIONS = """
    SELECT pid, CASE WHEN backend_xid IS NOT NULL
        THEN CAST(extract(epoch FROM clock_timestamp() - xact_start) * 1000 AS double precision) END
    FROM pg_stat_activity WHERE datname = %s AND application_name = 'integration-worker'
"""


def _cpu_s(pid: int, unknown: float = 0.0) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return unknown
    return (int(fields[11]) + int(fields[12])) / 100
