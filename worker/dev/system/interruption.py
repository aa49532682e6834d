"""Ctrl-C and its relatives as something the main thread can wait for.

The first signal only asks: the loop that runs the system notices and ends in order. The second one insists and is
raised where the main thread stands. From then on signals are ignored, so that the clean-up it causes runs to its end.
"""

import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

ECHO_S = 0.5
"""A second signal this soon is the first one again: programs that run programs pass Ctrl-C on, though we had it too."""


class Interrupted(KeyboardInterrupt):
    """A first signal came during `Interruption.at_once`."""


class Forced(KeyboardInterrupt):
    """A second signal came: end now, without waiting for anybody."""


class Interruption:
    """Handlers for the signals that end a program, in force inside the `with` block. Main thread only."""

    def __init__(self) -> None:
        self.signal: int | None = None
        """The first signal that came."""
        self._came_at = 0.0
        self._is_forced = False
        self._raises = False

    def __enter__(self) -> Self:
        # A pipe rather than threading.Event: setting an Event in a handler can deadlock with the wait it interrupts.
        # The interpreter writes to it, because a signal that another thread receives would not end our wait.
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._former_writer = signal.set_wakeup_fd(self._writer)
        self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._former_writer)
        os.close(self._reader)
        os.close(self._writer)

    @property
    def exit_status(self) -> int:
        """What a shell expects of a program that a signal has ended."""
        return 128 + (self.signal or 0)

    def wait(self, seconds: float) -> bool:
        """Wait for a signal, at most this long; at once if one has come. Tells whether one has."""
        select.select([self._reader], [], [], seconds)
        return self.signal is not None

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, a first signal is raised as `Interrupted`: for steps that block and clean up after themselves."""
        self._raises = True
        try:
            if self.signal is not None:
                raise Interrupted
            yield
        finally:
            self._raises = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal, self._came_at = number, time.monotonic()
            if self._raises:
                raise Interrupted
        elif not self._is_forced and time.monotonic() - self._came_at >= ECHO_S:
            self._is_forced = True
            raise Forced
