"""One server process: started so that it outlives Ctrl-C but not its launcher."""

import errno
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from worker.dev.embedded.placement import Placement
from worker.dev.parents import end_with
from worker.errors import Misconfigured, WorkerError

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0


class ServerFailed(WorkerError):
    """A server ended before it was ready, or never became ready."""


class PortTaken(ServerFailed):
    """A server could not have its port."""


def require_main_thread() -> None:
    """Misconfigured elsewhere: servers end with the thread that started them (see Spawner.spawn)."""
    if threading.current_thread() is not threading.main_thread():
        raise Misconfigured("embedded servers end with the thread that starts them: start them from the main thread")


@dataclass(frozen=True)
class Spawner:
    """Starts programs as the placement says; each inherits the lock."""

    placement: Placement
    lock: int

    def spawn(self, command: Sequence[str | Path], log: Path) -> subprocess.Popen[bytes]:
        """Start `command` in the home, with its output appended to `log`.

        On Linux the child gets SIGINT when the launcher dies, SIGKILL included. The kernel watches the thread that
        forked rather than the process, hence the main thread only. It also forgets the wish when the user id changes,
        hence `preexec_fn`, which runs after that; a program with a setuid bit in between would undo it.
        """
        require_main_thread()
        place, launcher = self.placement, os.getpid()

        with open(log, "ab", opener=lambda path, flags: os.open(path, flags, 0o600)) as output:
            return subprocess.Popen(  # noqa: S603 - our own binaries
                [*place.prefix, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=place.home,
                # Nothing of the launcher's environment: it may hold secrets, and settings of other servers.
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
                umask=0o077,
                user=place.setuid,
                group=place.setuid,
                extra_groups=None if place.setuid is None else [],
                start_new_session=True,  # out of the terminal's group, which gets Ctrl-C as a whole
                pass_fds=[self.lock],
                preexec_fn=lambda: end_with(launcher, signal.SIGINT),
            )


class Server:
    """A program that is started, asked until it is ready, and stopped by signals of rising severity."""

    def __init__(self, name: str, spawner: Spawner, signals: Sequence[signal.Signals]) -> None:
        self.name = name
        self.spawner = spawner
        self.log = spawner.placement.home / f"{name.lower()}.log"
        self._signals = signals
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServerFailed(f"{self.name} is not running")
        return self._process.pid

    @property
    def has_died(self) -> bool:
        """Whether it ended without being asked to."""
        return self._process is not None and self._process.poll() is not None

    def run(self, command: Sequence[str | Path], is_ready: Callable[[int], bool]) -> None:
        """Start `command` and return once `is_ready(pid)`; ServerFailed with the end of its log otherwise."""
        begin = self.log.stat().st_size if self.log.exists() else 0
        process = self._process = self.spawner.spawn(command, self.log)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not is_ready(process.pid):
            if process.poll() is not None:
                raise self._failure(f"ended with status {process.returncode}", begin)
            if time.monotonic() > deadline:
                raise self._failure(f"was not ready after {START_TIMEOUT_S:.0f} s", begin)
            time.sleep(0.01)

    def stop(self) -> None:
        if self._process is None:
            return
        for number in self._signals:
            self._process.send_signal(number)
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                continue
            break
        self._process = None

    def kill(self) -> None:
        """End it with SIGKILL, as the machine's out-of-memory killer would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _failure(self, what: str, begin: int) -> ServerFailed:
        output = self.log.read_bytes()[begin:].decode(errors="replace").strip()
        tail = "\n".join(output.splitlines()[-8:])
        kind = PortTaken if os.strerror(errno.EADDRINUSE) in output else ServerFailed
        return kind(f"{self.name} {what}; {self.log} ends with:\n{tail or '(nothing)'}")
