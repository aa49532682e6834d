"""One process of the system: its log file, its start, its end."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from worker.dev.parents import end_with
from worker.dev.system.nursery import Forked, Nursery
from worker.dev.system.precedence import step_back

LOG_BYTES = 10_000_000


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. `grace_s` is how long it may take to end after SIGTERM."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to the launcher's own; the place for what must not stand on a command line."""

    grace_s: float = 10
    steps_back: bool = False
    """Whether it leaves the CPU to those that somebody waits for."""


class Child:
    """A running program. It leads a session of its own, so Ctrl-C in the terminal reaches the launcher only.

    With a `nursery`, that is where its first process comes from if it is a module of this interpreter; `NurseryLost` if
    it can't. Later ones are always started by exec.
    """

    def __init__(self, program: Program, log_directory: Path, nursery: Nursery | None = None) -> None:
        self.program = program
        self.log = log_directory / f"{program.name}.log"
        self._process = self._start(nursery)
        self._is_in_place = not program.steps_back

    @property
    def pid(self) -> int:
        return self._process.pid

    def ended(self) -> int | None:
        """Its exit status, or None while it runs."""
        return self._process.poll()

    def restart(self) -> None:
        self._process = self._start()
        self._is_in_place = not self.program.steps_back

    def tend(self) -> None:
        """To be called every second or so, while it runs and between two runs."""
        self._rotate_log()
        if not self._is_in_place and self.ended() is None:
            self._is_in_place = step_back(self.pid)

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

    def last_words(self, lines: int = 8) -> str:
        """The end of its log."""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - 4096))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])

    def _rotate_log(self) -> None:
        """Keep the log below twice LOG_BYTES: one older copy, and the file that the process goes on writing to."""
        if self.log.stat().st_size > LOG_BYTES:
            shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
            os.truncate(self.log, 0)  # the process appends, so it goes on at the new end

    def _start(self, nursery: Nursery | None = None) -> "subprocess.Popen[bytes] | Forked":
        launcher = os.getpid()
        command = self.program.command
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **self.program.environment}

        def private(path: str, flags: int) -> int:
            return os.open(path, flags, 0o600)

        with open(self.log, "ab", opener=private) as output:
            if nursery is not None and command[:2] == (sys.executable, "-m"):
                return nursery.start(command[2], command[3:], environment, self.log)
            return subprocess.Popen(  # noqa: S603 - our own commands
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Python puts the directory it starts in before everything else it imports from; the user's may hold
                # a `worker` of its own.
                cwd=self.log.parent,
                env=environment,
                start_new_session=True,
                # SIGKILL, because the servers go with the launcher too: there is nobody left to finish anything with.
                preexec_fn=lambda: end_with(launcher, signal.SIGKILL),
            )
