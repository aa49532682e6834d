"""How long things take to start: `worker up` in a directory it has run in before, and what an application imports."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

IMPORTS = 5
READY = "Everything runs."
_OUTSIDE = ("DATABASE_URL", "MIGRATION_DATABASE_URL", "REDIS_URL", "BROKER_URL", "ENCRYPTION_KEYS", "BLIND_INDEX_KEY")


@dataclass(frozen=True, slots=True)
class StartUp:
    first_s: float
    second_s: float
    import_ms: float
    """Of `worker.enqueue`, beyond Python's own start."""


def measure(home: Path) -> StartUp:
    """`home` is a new directory."""
    first, second = (_up(home) for _ in range(2))
    empty, full = ([_run(code) for _ in range(IMPORTS)] for code in ("pass", "import worker.enqueue"))
    return StartUp(first, second, (median(full) - median(empty)) * 1000)


def _run(code: str) -> float:
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own interpreter
    return time.monotonic() - start


def _up(home: Path) -> float:
    """Seconds from the command to the line that says that it runs."""
    ports = ("--port", "0", "--flower-port", "0", "--sandbox-port", "0")
    environment = {name: value for name, value in os.environ.items() if name not in _OUTSIDE}
    start = time.monotonic()
    process = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "worker", "up", "--home", str(home), *ports],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**environment, "WORKER_HOME": str(home), "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None  # noqa: S101 - a pipe
    said = []
    try:
        for line in process.stdout:
            said.append(line)
            if line.startswith(READY):
                return time.monotonic() - start
        raise RuntimeError("worker up ended:\n" + "".join(said[-20:]))
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
