"""Keeps the children running, and ends them in the opposite order of their start."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from worker.dev.system.child import Child, Program
from worker.dev.system.nursery import Nursery, NurseryLost

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 30.0
SETTLED_S = 60.0
"""A child that has run for this long counts as healthy: its next death is again a first one."""


def wait_after(deaths: int) -> float:
    """Seconds until a child that has died this many times in a row is started again."""
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** (deaths - 1))


@dataclass
class _Watch:
    child: Child
    started: float
    deaths: int = 0
    restart_at: float | None = None


class Supervisor:
    """Starts programs in tiers and restarts those that die. Use it from the main thread, as a context manager.

    `say` gets a sentence for a person each time something happens to a child. A `nursery` makes their start quick.
    """

    def __init__(self, log_directory: Path, say: Callable[[str], None], nursery: Nursery | None = None) -> None:
        self._log_directory = log_directory
        self._say = say
        self._nursery = nursery
        self._tiers: list[list[_Watch]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not isinstance(error, KeyboardInterrupt):  # Interrupted, Forced: the person is in a hurry
                self.stop()
        finally:
            for watch in self._watches():
                watch.child.kill()

    def start(self, *programs: Program) -> None:
        """Start programs that depend on those started before; they will end before them."""
        tier: list[_Watch] = []
        self._tiers.append(tier)
        for program in programs:
            tier.append(_Watch(self._child(program), time.monotonic()))

    def tend(self) -> None:
        """Look after every child; to be called every second or so."""
        now = time.monotonic()
        for watch in self._watches():
            watch.child.tend()
            if watch.restart_at is not None:
                if now >= watch.restart_at:
                    watch.restart_at, watch.started = None, now
                    watch.child.restart()
            elif (status := watch.child.ended()) is not None:
                self._bury(watch, status, now)

    def last_words(self) -> str:
        """The end of every child's log, for when something went wrong."""
        return "\n".join(f"{w.child.program.name}: {words}" for w in self._watches() if (words := w.child.last_words()))

    def stop(self) -> None:
        """End the tiers, last started first; within a tier all at once. Kills whoever outstays its grace."""
        for tier in reversed(self._tiers):
            for watch in tier:
                watch.child.terminate()
            deadline = time.monotonic()
            for watch in tier:
                watch.child.wait(max(0.0, deadline + watch.child.program.grace_s - time.monotonic()))

    def _child(self, program: Program) -> Child:
        try:
            return Child(program, self._log_directory, self._nursery)
        except NurseryLost as error:
            self._say(f"{error}; every program now imports for itself")
            self._nursery = None
            return Child(program, self._log_directory)

    def _watches(self) -> list[_Watch]:
        return [watch for tier in self._tiers for watch in tier]

    def _bury(self, watch: _Watch, status: int, now: float) -> None:
        watch.deaths = watch.deaths + 1 if now - watch.started < SETTLED_S else 1
        wait_s = wait_after(watch.deaths)
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        self._say(f"{watch.child.program.name} {how}; starting it again in {wait_s:.0f} s (see {watch.child.log})")
        watch.restart_at = now + wait_s
