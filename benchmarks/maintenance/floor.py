"""Retention against the least that its work can cost: one plain DELETE of the same rows with the same dependents.

Each round removes the same rows from two copies of one database, the plain way and by a worker. A worker also looks at
holds, policies and whatever refers to a row, keeps others waiting for no longer than a moment, and writes a record.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.maintenance.rows import add_requests, settle
from benchmarks.maintenance.system import System, ask, ended, maintenance_worker, system, wait_for
from benchmarks.maintenance.watch import APPLICATION, Watch, cpu_s, watching


@dataclass(frozen=True, slots=True)
class Round:
    """Times in seconds, `watch` is of the worker's connections."""

    rows: int
    plain_s: float
    plain_cpu_s: float
    sweep_s: float
    watch: Watch

    @property
    def throughput(self) -> float:
        """Of the plain DELETE's: the bar is 0.8."""
        return self.plain_s / self.sweep_s

    @property
    def cpu(self) -> float:
        """PostgreSQL's, the plain way's share of the worker's: what is left of noise on a busy machine."""
        return self.plain_cpu_s / self.watch.cpu_s


def run(rows: int = 500_000, rounds: int = 3, directory: Path | None = None) -> list[Round]:
    """Remove so many rows, half of them requests and half results, of a database with twice as many."""
    with system(directory) as here:
        with here.owner() as owner:
            add_requests(owner, rows // 2)
            add_requests(owner, rows // 2, days=100)
            settle(owner)
        return [_round(here, plain_is_first=number % 2 == 0) for number in range(rounds)]


def _round(here: System, *, plain_is_first: bool) -> Round:
    plain = _plainly(here) if plain_is_first else None
    sweep_s, watch, swept = _by_a_worker(here)
    plain_s, plain_cpu_s, rows = plain or _plainly(here)
    if swept != rows:
        raise RuntimeError(f"the plain DELETE removed {rows} rows, the worker {swept}")
    return Round(rows, plain_s, plain_cpu_s, sweep_s, watch)


def _plainly(here: System) -> tuple[float, float, int]:
    with (
        here.copy("plain") as database,
        here.application(database) as connection,
        watching(here, database),  # as the other one is: it takes time
    ):
        connection.execute(f"SET application_name = '{APPLICATION}'".encode())
        connection.commit()
        pid = connection.info.backend_pid
        before, start = cpu_s(pid), time.monotonic()
        results = connection.execute(_PLAIN_RESULTS).rowcount
        requests = connection.execute(_PLAIN_REQUESTS).rowcount
        connection.commit()
        return time.monotonic() - start, cpu_s(pid) - before, results + requests


_PLAIN_RESULTS = """
    DELETE FROM integration_verification_result WHERE request_id IN (
        SELECT id FROM integration_request WHERE created_at < now() - interval '2555 days'
    )
"""
_PLAIN_REQUESTS = "DELETE FROM integration_request WHERE created_at < now() - interval '2555 days'"


def _by_a_worker(here: System) -> tuple[float, Watch, int]:
    with (
        here.copy("swept") as database,
        here.processes(maintenance_worker(), database=database, workers=1),
        here.owner(database) as owner,
        watching(here, database) as watch,
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
