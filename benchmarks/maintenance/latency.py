"""What verifications notice of retention: fifty are asked for each second, alone and beside the sweep, in turns."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psycopg

from benchmarks.maintenance.rows import OVERDUE_DAYS, add_requests, settle
from benchmarks.maintenance.system import System, ask, ended, maintenance_worker, system, wait_for
from worker.crypto import Keyring
from worker.database import Database
from worker.dev.demo.households import INTEGRATIONS, add_drivers
from worker.dev.demo.sample import configure_sandbox
from worker.dev.sandbox.personas import PERSONAS
from worker.dev.system import parts
from worker.dev.system.ports import free_port
from worker.enqueue import enqueue_verification
from worker.settings import load_settings

PER_SECOND = 50
LONGEST_SWEEP_S = 120.0
INTEGRATION = INTEGRATIONS["drivers"]


@dataclass(frozen=True, slots=True)
class Latency:
    """From asking to the job's end, by the database's clock."""

    count: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Round:
    alone: Latency
    beside: Latency
    removed: int


def run(rows: int = 300_000, rounds: int = 3, seconds: float = 20.0, directory: Path | None = None) -> list[Round]:
    """Each round: so many seconds alone, then for as long as the sweep of so many other rows takes."""
    with system(directory) as here:
        with here.owner() as owner:
            for number in range(rounds):
                add_requests(owner, rows // 2, days=_days(number))
            settle(owner)
        port = free_port()
        asker = _Asker(f"http://127.0.0.1:{port}")
        programs = (parts.sandbox(port, latency="50ms"), parts.verification_worker(1))
        with here.processes(*programs, maintenance_worker(), workers=2), here.owner() as owner:
            asker.ask_for(5.0)  # connections, plans and the provider's token are there from now on
            return [_round(here, owner, asker, number, seconds) for number in reversed(range(rounds))]


def _days(number: int) -> int:
    """Each slice is older than the one before; the oldest is removed first."""
    return OVERDUE_DAYS + 100 * number


def _round(here: System, owner: psycopg.Connection, asker: "_Asker", number: int, seconds: float) -> Round:
    alone = asker.ask_for(seconds)
    owner.execute(
        "UPDATE data_retention_policies SET retention_days = %s WHERE table_name LIKE 'integration%%'",
        [_days(number) - 50],
    )
    job = ask(owner, "retention.sweep")
    asker.ask_until(lambda: ended(owner, job))
    start, end, removed = owner.execute(
        """
        SELECT started_at, finished_at, (
            SELECT coalesce(sum(deleted_count), 0) FROM retention_run_items AS item
            JOIN retention_runs AS run ON run.id = item.run_id WHERE run.job_id = job.id)
        FROM job WHERE id = %s
        """,
        [job],
    ).fetchone() or (None, None, 0)
    wait_for(lambda: not _unfinished(owner))
    return Round(_latency(owner, *alone), _latency(owner, start, end), int(removed))


def _unfinished(owner: psycopg.Connection) -> bool:
    query = "SELECT FROM job WHERE kind = 'verification.verify' AND state IN ('ready', 'running') LIMIT 1"
    return owner.execute(query).fetchone() is not None


def _latency(owner: psycopg.Connection, start: datetime, end: datetime) -> Latency:
    count, p50_ms, p99_ms = owner.execute(
        """
        SELECT count(*), percentile_cont(0.5) WITHIN GROUP (ORDER BY took_ms),
            percentile_cont(0.99) WITHIN GROUP (ORDER BY took_ms)
        FROM (
            SELECT CAST(extract(epoch FROM finished_at - created_at) * 1000 AS double precision) AS took_ms FROM job
            WHERE kind = 'verification.verify' AND state = 'done' AND created_at BETWEEN %s AND %s
        ) AS ended
        """,
        [start, end],
    ).fetchone() or (0, 0.0, 0.0)
    return Latency(count, p50_ms, p99_ms)


class _Asker:
    """Asks for a verification of a new driver each time, at a steady pace however long the others take."""

    def __init__(self, provider_url: str) -> None:
        settings = load_settings()
        self._keyring = Keyring.of(settings)
        self._database = Database(settings)
        self._persona = next(persona for persona in PERSONAS if persona.api == "drivers")
        with self._database.transaction() as connection:
            configure_sandbox(connection, self._keyring, provider_url, INTEGRATION, timeout_s=10, attempts=3)
        self._drivers = self._endless()

    def ask_for(self, seconds: float) -> tuple[datetime, datetime]:
        """Gives the database's time at both ends."""
        end = time.monotonic() + seconds
        start = self._now()
        self.ask_until(lambda: time.monotonic() >= end)
        return start, self._now()

    def ask_until(self, is_over: Callable[[], bool]) -> None:
        due = time.monotonic()
        end = due + LONGEST_SWEEP_S
        while not is_over():
            if due > end:
                raise TimeoutError("the sweep takes too long for this machine")
            with self._database.transaction() as connection:
                enqueue_verification(connection, integration=INTEGRATION, driver_id=next(self._drivers))
            due += 1 / PER_SECOND
            time.sleep(max(0.0, due - time.monotonic()))

    def _endless(self) -> Iterator[int]:
        while True:
            yield from self._some()

    def _some(self) -> Sequence[int]:
        with self._database.transaction() as connection:
            return add_drivers(connection, self._keyring, [self._persona] * 20)

    def _now(self) -> datetime:
        with self._database.transaction() as connection:
            now: datetime = connection.exec_driver_sql("SELECT clock_timestamp()").scalar_one()
            return now
