"""Programs that are measured: started together, held still while work is put in front of them, and their CPU time."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from worker.dev.system.child import Child, Program

_TICK = os.sysconf("SC_CLK_TCK")
STOPPED_WITHIN_S = 10.0


def cpu_s(roots: Sequence[int]) -> float:
    """Seconds of CPU that these processes and all they started have used, those that have ended included."""
    family = set(roots)
    used, parents = {}, {}
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        try:
            fields = (directory / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        pid = int(directory.name)
        parents[pid] = int(fields[1])
        used[pid] = sum(map(int, fields[11:15])) / _TICK  # its own in user and kernel mode, and its ended children's
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(used.get(pid, 0.0) for pid in family)


def memory_mb(roots: Sequence[int]) -> float:
    """Resident memory of these processes themselves, not of what they started."""
    pages = sum(int((Path("/proc") / str(pid) / "statm").read_text().split()[1]) for pid in roots)
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Fleet:
    """Programs that run together. Each leads a process group of its own, so all it starts is reached with it."""

    def __init__(self, programs: Sequence[Program], logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self.children = [Child(program, logs) for program in programs]

    @property
    def pids(self) -> list[int]:
        return [child.pid for child in self.children]

    def hold(self) -> None:
        """Stop them where they are, so that a backlog can be laid before them."""
        self._signal(signal.SIGSTOP)

    def let_go(self) -> None:
        self._signal(signal.SIGCONT)

    def check(self) -> None:
        """Raises if one has ended by itself."""
        for child in self.children:
            if child.ended() is not None:
                raise RuntimeError(f"{child.program.name} ended by itself; its log ends with:\n{child.last_words(30)}")

    def stop(self) -> None:
        for child in self.children:
            child.terminate()
        deadline = time.monotonic() + STOPPED_WITHIN_S
        for child in self.children:
            child.wait(max(0.1, deadline - time.monotonic()))

    def _signal(self, number: signal.Signals) -> None:
        for child in self.children:
            if child.ended() is None:
                os.killpg(child.pid, number)


@contextmanager
def running(programs: Sequence[Program], logs: Path) -> Iterator[Fleet]:
    fleet = Fleet(programs, logs)
    try:
        yield fleet
    finally:
        fleet.let_go()
        fleet.stop()
