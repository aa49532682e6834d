"""A process that imports what several programs need, once, and is forked for each of them.

It imports while the servers start. Each fork goes on as `python -m` would, with its program's own arguments,
environment, log and session, and as the launcher's own child: the process between the two ends at once, and the
launcher adopts the fork. So the nursery is needed for the start only; who dies later is started again by exec.

Linux only: elsewhere nobody adopts, and macOS' own libraries do not bear a fork without exec.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from worker.dev.parents import adopting, end_with
from worker.errors import WorkerError

PATIENCE_S = 60.0
_LOOK_EVERY_S = 0.02


class NurseryLost(WorkerError):
    """The nursery died, or does not answer."""


class Forked:
    """A child that `subprocess` has not started: as much of `Popen` as `Child` asks for."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    def poll(self) -> int | None:
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def wait(self, timeout: float = float("inf")) -> int:
        deadline = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(_LOOK_EVERY_S)
        return status

    def terminate(self) -> None:
        if self.poll() is None:  # until it is reaped, nobody else gets its number
            os.kill(self.pid, signal.SIGTERM)


class Nursery:
    """The launcher's side. Use it from the main thread: what it starts ends with the thread that asked."""

    def __init__(self, modules: Sequence[str]) -> None:
        """Begin to import `modules`, none of which may read settings, open anything or start threads."""
        launcher = os.getpid()
        self._line, line = socket.socketpair()
        self._line.settimeout(PATIENCE_S)
        self._answers = self._line.makefile()
        self._is_ready = False
        with line:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
                # -P: the directory that the user is in may hold a `worker` of its own
                [sys.executable, "-P", "-m", __name__, *modules],
                stdin=line.fileno(),
                stdout=subprocess.DEVNULL,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
                preexec_fn=lambda: end_with(launcher, signal.SIGKILL),
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Return once it has imported everything, or is lost: then `start` will say so."""
        if not self._is_ready:
            with suppress(OSError):  # TimeoutError is one
                self._is_ready = bool(self._answers.readline())

    def start(self, module: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Forked:
        """Run `python -m module` in the directory of `log`, a file to which its output is appended.

        Raises `NurseryLost`.
        """
        self.wait_until_ready()
        request = {"module": module, "arguments": arguments, "environment": dict(environment), "log": str(log)}
        try:
            with adopting():
                self._line.sendall(json.dumps(request).encode() + b"\n")
                return Forked(int(self._answers.readline()))
        except (OSError, ValueError):  # away, too slow, or an empty answer: its end
            self.close()
            raise NurseryLost("the nursery of processes died or hangs") from None

    def close(self) -> None:
        """End it, whatever it does; what it has started goes on."""
        self._process.kill()
        self._process.wait()
        self._answers.close()
        self._line.close()


@contextmanager
def open_nursery(modules: Sequence[str]) -> Iterator[Nursery | None]:
    """None where programs can only be started by exec."""
    if sys.platform != "linux":
        yield None
        return
    nursery = Nursery(modules)
    try:
        yield nursery
    finally:
        nursery.close()
