"""What PostgreSQL does for an application while something runs: CPU time, and how long transactions take."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import quantiles

from benchmarks.maintenance.system import System

APPLICATION = "integration-worker"


@dataclass
class Watch:
    """Looked at every few milliseconds: a transaction may have been longer than seen by `late_ms`, and shorter ones may
    not have been seen. All count, those that only read too."""

    cpu: dict[int, float] = field(default_factory=dict)
    seen_ms: dict[tuple[int, datetime], float] = field(default_factory=dict)
    late_ms: float = 0.0

    @property
    def cpu_s(self) -> float:
        return sum(self.cpu.values())

    @property
    def longest_ms(self) -> float:
        return max(self.seen_ms.values(), default=0.0)

    def percentile_ms(self, percent: int) -> float:
        """Of the transactions of the busiest connection: others of the worker do a moment's work now and then."""
        by_connection: dict[int, list[float]] = {}
        for (pid, _), length_ms in self.seen_ms.items():
            by_connection.setdefault(pid, []).append(length_ms)
        busiest = max(by_connection.values(), key=sum)
        return quantiles(busiest, n=100, method="inclusive")[percent - 1] if len(busiest) > 1 else busiest[0]


@contextmanager
def watching(here: System, database: str) -> Iterator[Watch]:
    watch, is_over = Watch(), threading.Event()

    def look() -> None:
        with here.administrator(database) as admin:
            last = time.monotonic()
            while not is_over.wait(0.005):
                for pid, began, length_ms in admin.execute(_TRANSACTIONS, [database, APPLICATION]).fetchall():
                    watch.cpu[pid] = cpu_s(pid, watch.cpu.get(pid, 0.0))
                    if began is not None:
                        watch.seen_ms[pid, began] = length_ms
                now = time.monotonic()
                watch.late_ms, last = max(watch.late_ms, (now - last) * 1000), now

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield watch
    finally:
        is_over.set()
        thread.join()


_TRANSACTIONS = """
    SELECT pid, xact_start, CAST(extract(epoch FROM clock_timestamp() - xact_start) * 1000 AS double precision)
    FROM pg_stat_activity WHERE datname = %s AND application_name = %s
"""


def cpu_s(pid: int, unknown: float = 0.0) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return unknown
    return (int(fields[11]) + int(fields[12])) / 100
