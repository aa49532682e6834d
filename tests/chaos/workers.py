"""Real Celery workers as processes of their own."""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from tests.conftest import environment_of
from worker.settings import Settings

CHECKOUT = Path(__file__).parents[2]


@contextmanager
def celery_worker(
    settings: Settings,
    home: Path,
    *,
    app: str = "worker.app",
    variables: Mapping[str, str] = MappingProxyType({}),
    queue: str = "verification",
    pool: Sequence[str] = ("-P", "threads", "-c", "8"),
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker for a queue, stopped with SIGTERM at the end if it still lives."""
    home.mkdir(parents=True, exist_ok=True)
    log = home / "worker.log"
    command = [
        *(sys.executable, "-m", "celery", "-A", app, "worker", "-Q", queue, *pool),
        *("--without-gossip", "--without-mingle", "-l", "INFO"),
    ]
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, cwd=CHECKOUT, env={**environment_of(settings, home), **variables}, stdout=out, stderr=out
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the worker did not stop; its log:\n{log.read_text()[-4000:]}") from None
