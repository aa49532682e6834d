"""The demo from start to end: servers, tables, people, workers, jobs, outcomes; then everything is taken away."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console

from worker.crypto import Keyring
from worker.database import Database
from worker.dev.demo import ledger, report
from worker.dev.demo.households import INTEGRATIONS, Subject, add_people
from worker.dev.demo.mixture import mixture
from worker.dev.demo.progress import Counts, progress
from worker.dev.demo.sample import configure_sandbox
from worker.dev.embedded import EmbeddedServers
from worker.dev.sandbox.personas import Persona
from worker.dev.system import parts
from worker.dev.system.home import Home
from worker.dev.system.interruption import Interrupted, Interruption
from worker.dev.system.nursery import Nursery
from worker.dev.system.ports import free_port
from worker.dev.system.readiness import listeners
from worker.dev.system.supervisor import Supervisor
from worker.errors import Misconfigured, WorkerError
from worker.schema import migrate
from worker.settings import Settings, load_settings

TIMEOUT_S = 2
ATTEMPTS = 3
STALLED_S = 60.0
"""No job ends for longer than this in a healthy demo: three attempts of TIMEOUT_S and the waits between them."""

BATCH = 100


class Stalled(WorkerError):
    """The jobs stopped ending, or the workers never began."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to demonstrate. Without a `home` a temporary one is used, and removed unless `keep`."""

    jobs: int
    workers: int
    home: Path | None = None
    keep: bool = False


def run(request: Request, console: Console, nursery: Nursery | None = None) -> int:
    """Run the demo; gives the exit status. Raises `WorkerError` when it could not be carried through.

    The programs come out of the `nursery`, which is closed when they all have.
    """
    with Interruption() as interruption:
        try:
            with ExitStack() as stack:
                return _run(request, console, nursery, interruption, stack)
        except Interrupted:
            return interruption.exit_status


def _run(
    request: Request, console: Console, nursery: Nursery | None, interruption: Interruption, stack: ExitStack
) -> int:
    people = mixture(request.jobs)
    with interruption.at_once():
        home = stack.enter_context(_home(request, console))
        console.print("Starting PostgreSQL and Valkey ...")
        servers = EmbeddedServers(home.servers)
        if request.home is None and not request.keep:
            # For root their directory may have moved out of ours.
            stack.callback(lambda: shutil.rmtree(servers.home, ignore_errors=True))
        stack.enter_context(servers)
        settings = _settings(home, servers)
        migrate()
        database = Database(settings)
        stack.callback(database.close)
        port = free_port()
        subjects = _load_people(database, settings, f"http://127.0.0.1:{port}", people)
        if nursery is not None:
            nursery.wait_until_ready()
    supervisor = stack.enter_context(Supervisor(home.logs, console.print, nursery))
    supervisor.start(parts.sandbox(port, latency="50ms"))
    numbers = range(1, request.workers + 1)
    supervisor.start(*(parts.verification_worker(number) for number in numbers))
    if nursery is not None:
        nursery.close()
    demo = _Demo(database, supervisor, interruption, settings, console)
    console.print(f"Starting the provider's sandbox and {request.workers} worker(s) ...")
    demo.await_workers(request.workers)
    requests, seconds = demo.work_off(subjects)
    return demo.conclude(dict(zip(requests, people, strict=True)), seconds)


@dataclass(frozen=True, slots=True)
class _Demo:
    database: Database
    supervisor: Supervisor
    interruption: Interruption
    settings: Settings
    console: Console

    def await_workers(self, count: int) -> None:
        """Wait until each worker listens, so that their start is not taken for slow work."""
        deadline = time.monotonic() + STALLED_S
        while listeners(self.settings.redis_url.get_secret_value()) < count:
            self._pause(deadline, "the workers did not start")

    def work_off(self, subjects: list[Subject]) -> tuple[list[int], float]:
        """Ask for the jobs and watch them end. Gives the ids of the requests, in order, and the seconds it took."""
        from worker.enqueue import enqueue_verification  # reads the settings, which the demo has to make first

        start = time.monotonic()
        requests: list[int] = []
        for first in range(0, len(subjects), BATCH):
            if self.interruption.wait(0):
                raise Interrupted
            with self.database.transaction() as connection:
                requests += [
                    enqueue_verification(
                        connection,
                        integration=subject.integration,
                        driver_id=subject.driver_id,
                        vehicle_id=subject.vehicle_id,
                    ).request_id
                    for subject in subjects[first : first + BATCH]
                ]
        ended, deadline = 0, time.monotonic() + STALLED_S
        with progress(self.console) as show:
            while True:
                with self.database.transaction() as connection:
                    done, failed, retrying = ledger.counts(connection)
                counts = Counts(len(requests), done, failed, retrying, time.monotonic() - start)
                show(counts)
                if counts.ended == counts.total:
                    return requests, counts.elapsed_s
                if counts.ended > ended:
                    ended, deadline = counts.ended, time.monotonic() + STALLED_S
                self._pause(deadline, f"no job has ended for {STALLED_S:.0f} s")

    def conclude(self, people: Mapping[int, Persona], seconds: float) -> int:
        """Print the outcomes. 0 if every job ended as its person demands, else 1."""
        with self.database.transaction() as connection:
            endings = ledger.endings(connection)
        lines = report.lines(people, endings)
        self.console.print()
        self.console.print(report.table(lines))
        self.console.print()
        wrong = [line for line in lines if line.differences]
        verdict = f"{len(wrong)} persona(s) ended differently" if wrong else "all as expected"
        rate = len(people) / seconds
        half = median(ending.duration_ms or 0 for ending in endings) / 1000
        self.console.print(
            f"{len(people)} jobs in {seconds:.1f} s ({rate:.0f} jobs/s, half of them within {half:.1f} s): {verdict}.",
            highlight=False,
            soft_wrap=True,
        )
        return 1 if wrong else 0

    def _pause(self, deadline: float, complaint: str) -> None:
        self.supervisor.tend()
        if self.interruption.wait(0.2):
            raise Interrupted
        if time.monotonic() > deadline:
            raise Stalled(f"{complaint}. The logs end with:\n{self.supervisor.last_words()}")


def _settings(home: Home, servers: EmbeddedServers) -> Settings:
    """Make this process, and so its children, belong to the demo's system and no other."""
    os.environ.pop("BROKER_URL", None)
    os.environ.update(
        home.keys(),
        WORKER_HOME=str(home.path),
        DATABASE_URL=servers.database_url,
        MIGRATION_DATABASE_URL=servers.migration_database_url,
        REDIS_URL=servers.redis_url,
        WORKER_ALLOW_PRIVATE_PROVIDERS="true",  # the sandbox listens on this machine
    )
    return load_settings()


def _load_people(database: Database, settings: Settings, sandbox_url: str, people: list[Persona]) -> list[Subject]:
    keyring = Keyring.of(settings)
    with database.transaction() as connection:
        for code in INTEGRATIONS.values():
            configure_sandbox(connection, keyring, sandbox_url, code, timeout_s=TIMEOUT_S, attempts=ATTEMPTS)
        return add_people(connection, keyring, people)


@contextmanager
def _home(request: Request, console: Console) -> Iterator[Home]:
    if request.home is not None:
        home = Home(request.home.absolute())
        if (home.path / "env").exists() or home.servers.exists():
            raise Misconfigured(f"{home.path} already holds a system: give the demo a directory of its own")
        home.create()
        yield home
        return
    home = Home(Path(tempfile.mkdtemp(prefix="worker-demo-")))
    home.path.chmod(0o711)  # as Home.create does
    home.create()
    try:
        yield home
    finally:
        if request.keep:
            console.print(f"Logs and data are kept in {home.path}")
        else:
            shutil.rmtree(home.path)
