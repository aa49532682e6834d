"""One process of the system: its log file, its start, its end."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h
LOG_BYTES = 10_000_000

# Found before any fork: between fork and exec a child may take no lock, so it must not load a library.
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. `grace_s` is how long it may take to end after SIGTERM."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to the launcher's own; the place for what must not stand on a command line."""

    grace_s: float = 10


class Child:
    """A running program. It leads a session of its own, so Ctrl-C in the terminal reaches the launcher only."""

    def __init__(self, program: Program, log_directory: Path) -> None:
        self.program = program
        self.log = log_directory / f"{program.name}.log"
        self._process = self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ended(self) -> int | None:
        """Its exit status, or None while it runs."""
        return self._process.poll()

    def restart(self) -> None:
        self._process = self._start()

    def terminate(self) -> None:
        """Ask it to finish what it does and end."""
        if self.ended() is None:
            self._process.terminate()

    def wait(self, seconds: float) -> None:
        """Return once it has ended; after that long, kill it with all it has started."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        if self.ended() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()

    def rotate_log(self) -> None:
        """Keep the log below twice LOG_BYTES: one older copy, and the file that the process goes on writing to."""
        if self.log.stat().st_size > LOG_BYTES:
            shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
            os.truncate(self.log, 0)  # the process appends, so it goes on at the new end

    def last_words(self, lines: int = 8) -> str:
        """The end of its log."""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - 4096))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])

    def _start(self) -> subprocess.Popen[bytes]:
        launcher = os.getpid()

        def end_with_launcher() -> None:
            # SIGKILL, because the servers go with the launcher too: there is nobody left to finish anything with.
            if _prctl is not None:
                _prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
                if os.getppid() != launcher:  # it died before the kernel was asked
                    os._exit(1)

        def private(path: str, flags: int) -> int:
            return os.open(path, flags, 0o600)

        with open(self.log, "ab", opener=private) as output:
            return subprocess.Popen(  # noqa: S603 - our own commands
                self.program.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Python puts the directory it starts in before everything else it imports from; the user's may hold
                # a `worker` of its own.
                cwd=self.log.parent,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self.program.environment},
                start_new_session=True,
                preexec_fn=end_with_launcher,
            )
