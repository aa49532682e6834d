"""The programs a system is made of, as command lines. All but the API step back: there somebody waits for an answer."""

import sys
from collections.abc import Mapping

from worker.dev.system.child import Program
from worker.task_modules import TASK_MODULES

THREADS = 64
"""Hints that one verification worker takes in before it has dealt with them; its jobs run in an event loop, as many as
WORKER_CALLS_IN_FLIGHT. Threads start only while hints go Celery's own way: see `worker/process/shortcut.py`."""

FLOWER_USER = "worker"

IMPORTED_BY_SEVERAL = (
    "celery.bin.celery",
    "celery.apps.worker",
    "celery.concurrency.prefork",
    "celery.worker.consumer.control",
    "cffi.cparser",
    "worker.cli.program",
    "worker.keys",
    "worker.process.health",
    "worker.process.redis_channel",
    "worker.process.runtime",
    "worker.process.shortcut",
    *TASK_MODULES,
)
"""For a nursery: what takes the programs below long to import, and more than one of them needs. What is missing here,
each of them imports for itself. None of it may read settings, open anything or start threads."""


def sandbox(port: int, *, latency: str = "0") -> Program:
    command = _python("worker.dev.sandbox", "--port", str(port), "--latency", latency)
    return Program("sandbox", command, steps_back=True)


def verification_worker(number: int, *, health_port: int | None = None, beat: bool = False) -> Program:
    options = ("--pool", "threads", "--concurrency", str(THREADS))
    return _worker(
        f"worker-{number}", "verification", health_port, *options, environment={"WORKER_BEAT": "true"} if beat else None
    )


def rating_worker(health_port: int) -> Program:
    """Processes of their own for CPU work. Each takes a few ranges of quotes at a time: while one is rated, others are
    read and written."""
    options = ("--pool", "prefork", "--concurrency", "1")
    return _worker("rating", "rating", health_port, *options, environment={"WORKER_CALLS_IN_FLIGHT": "4"})


def maintenance_worker(health_port: int) -> Program:
    """One process, one job at a time: upkeep waits for its turn, and may use the CPU."""
    return _worker("maintenance", "maintenance", health_port, "--pool", "prefork", "--concurrency", "1")


def flower(port: int, password: str) -> Program:
    command = _python("worker", "flower", "--port", str(port))
    return Program("flower", command, {"FLOWER_BASIC_AUTH": f"{FLOWER_USER}:{password}"}, grace_s=5, steps_back=True)


def api(port: int) -> Program:
    return Program("api", _python("worker", "api", "--port", str(port)), grace_s=5)


def _worker(
    name: str, queue: str, health_port: int | None, *options: str, environment: Mapping[str, str] | None = None
) -> Program:
    # Gossip and mingle have workers talk to each other through Redis; ours meet in PostgreSQL.
    command = _celery(
        "worker", "--queues", queue, "--hostname", f"{name}@%h", *options, "--without-gossip", "--without-mingle"
    )
    variables = {**_listening_at(health_port), **(environment or {})}
    return Program(name, command, variables, grace_s=15, steps_back=True)


def _listening_at(health_port: int | None) -> Mapping[str, str]:
    return {} if health_port is None else {"WORKER_HEALTH_PORT": str(health_port)}


def _celery(*arguments: str) -> tuple[str, ...]:
    return _python("celery", "--app", "worker.app", *arguments)


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)
