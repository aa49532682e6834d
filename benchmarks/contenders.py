"""Who takes part: this system in two forms, the systems a user would take instead, and the floor without any."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from worker.dev.system import parts
from worker.dev.system.child import Program

CHECKOUT = Path(__file__).parents[1]

Command = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Contender:
    """A system that runs the job.

    `group` is the dependency group whose environment it has; None: it is this system, in this environment. `command`
    is what Python runs as a module in each of `processes`; `{n}` is the number of the process, `{in_flight}` the jobs
    it may work on at a time. `jobs_per_s` is a guess, by which the first round's number of jobs is chosen.
    """

    name: str
    module: str
    group: str | None
    command: str
    jobs_per_s: int
    processes: int = 2
    in_flight: int | None = None
    """Jobs at a time of all its processes together, where threads or processes limit them."""

    is_floor: bool = False

    @property
    def is_ours(self) -> bool:
        return self.group is None

    @property
    def is_peer(self) -> bool:
        return self.group is not None and not self.is_floor

    @property
    def is_installed(self) -> bool:
        return Path(self._python).exists()

    @property
    def producer(self) -> Command:
        return (self._python, "-m", "benchmarks.producer", self.module)

    def programs(self, environment: Mapping[str, str], in_flight: int) -> list[Program]:
        """Its workers, each of which may work on `in_flight` jobs at a time if it can."""
        name = self.module.rpartition(".")[2]
        commands = [
            (self._python, "-m", *(word.format(n=n, in_flight=in_flight) for word in self.command.split()))
            for n in range(1, self.processes + 1)
        ]
        return [Program(f"{name}-{n}", command, environment) for n, command in enumerate(commands, start=1)]

    @property
    def _python(self) -> str:
        return sys.executable if self.group is None else str(CHECKOUT / f".venv-{self.group}" / "bin" / "python")


_OURS = " ".join(parts.verification_worker(0).command[2:]).replace("worker-0@", "worker-{n}@")
_CELERY = "celery --app benchmarks.peers.celery worker --hostname {n}@%h --without-gossip --without-mingle"

CONTENDERS = (
    Contender("ours, bulk", "benchmarks.ours.bulk", None, _OURS, 1000),
    Contender("ours, a message a job", "benchmarks.ours.messages", None, _OURS, 400),
    Contender(
        "Celery, 64 threads",
        "benchmarks.peers.celery",
        "bench",
        f"{_CELERY} --pool threads --concurrency 64",
        300,
        in_flight=128,
    ),
    Contender(
        "Celery, 16 processes",
        "benchmarks.peers.celery",
        "bench",
        f"{_CELERY} --pool prefork --concurrency 16",
        200,
        processes=1,
        in_flight=16,
    ),
    Contender(
        "Dramatiq",
        "benchmarks.peers.dramatiq",
        "bench",
        "dramatiq benchmarks.peers.dramatiq --processes 2 --threads 64",
        400,
        processes=1,
        in_flight=128,
    ),
    Contender(
        "Taskiq",
        "benchmarks.peers.taskiq",
        "bench",
        "taskiq worker benchmarks.peers.taskiq:broker --workers 2 --max-async-tasks {in_flight}",
        450,
        processes=1,
    ),
    Contender(
        "Procrastinate",
        "benchmarks.peers.procrastinate",
        "bench",
        "procrastinate --app benchmarks.peers.procrastinate.app worker --concurrency {in_flight}",
        200,
    ),
    Contender("SAQ", "benchmarks.peers.saq", "bench-redis5", "saq benchmarks.peers.saq.settings", 300),
    Contender("arq", "benchmarks.peers.arq", "bench-redis5", "arq benchmarks.peers.arq.WorkerSettings", 300),
    Contender(
        "RQ, 16 processes",
        "benchmarks.peers.rq",
        "bench",
        "rq.cli worker-pool --num-workers 16 --worker-class rq.worker.SimpleWorker",
        150,
        processes=1,
        in_flight=16,
    ),
    Contender("bare loop", "benchmarks.peers.bare", "bench", "benchmarks.peers.bare {n}", 450, is_floor=True),
    Contender(
        "bare loop, gathered",
        "benchmarks.peers.bare",
        "bench",
        "benchmarks.peers.bare {n} --gathered",
        1500,
        is_floor=True,
    ),
)
