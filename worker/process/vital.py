"""Threads that a worker can't do without: if one of them fails, the process ends and its supervisor starts another.

The alternative, a worker that looks alive and no longer renews leases or dispatches, is the failure nobody sees.
"""

import os
import signal
import threading
import time
from collections.abc import Callable

import structlog

from worker.process.trace import where

_log = structlog.get_logger(__name__)


class VitalThread(threading.Thread):
    """A daemon thread; what `loop` raises stops the worker as SIGTERM would: running jobs end, leases do the rest."""

    def __init__(self, name: str, loop: Callable[[], None]) -> None:
        super().__init__(name=name, daemon=True)
        self._loop = loop
        self._round_at = time.monotonic()

    def made_round(self) -> None:
        """Called by the loop each time round."""
        self._round_at = time.monotonic()

    @property
    def silent_s(self) -> float:
        """Seconds since the last round."""
        return time.monotonic() - self._round_at

    def run(self) -> None:
        try:
            self._loop()
        except BaseException as error:
            _log.critical("worker.thread_died", thread=self.name, error=type(error).__name__, where=where(error))
            os.kill(os.getpid(), signal.SIGTERM)
            raise
