"""Ends a process that no longer comes forward, so that its supervisor starts another.

First as SIGTERM does, and what runs may come to its end; a process that is too far gone for that ends all the same. Its
jobs' leases run out, and others take them over. Either way the exit status tells of a failure: there are supervisors
who start nothing again that ended well.
"""

import atexit
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping

import structlog

from worker.health.port import Complaints

_log = structlog.get_logger(__name__)

LOOK_EVERY_S = 5.0
EXIT_STATUS = os.EX_SOFTWARE

LONGEST_RUN_S = 150.0
"""What SIGTERM leaves to jobs that run (README, Stopping)."""

GOODBYE_S = 15.0
"""For an orderly end when nothing runs any more."""


class Watchdog:
    """A thread in a process's main part. Nothing happens while `stuck` has no complaints."""

    def __init__(self, stuck: Complaints, is_running: Callable[[], bool] = lambda: False) -> None:
        self._stuck = stuck
        self._is_running = is_running
        self._end = threading.Event()
        self._has_given_up = False
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        atexit.register(self._end_as_failed)
        self._thread.start()

    def close(self) -> None:
        """What it has decided stands."""
        self._end.set()

    def _watch(self) -> None:
        while not self._end.wait(LOOK_EVERY_S):
            if complaints := self._stuck():
                self._end_process(complaints)

    def _end_process(self, complaints: Mapping[str, str]) -> None:
        for part, complaint in complaints.items():
            _log.critical("process.stuck", where=part, problem=complaint)
        self._has_given_up = True
        os.kill(os.getpid(), signal.SIGTERM)
        patient_until = time.monotonic() + LONGEST_RUN_S
        while self._is_running() and time.monotonic() < patient_until:
            time.sleep(1)
        time.sleep(GOODBYE_S)
        os._exit(EXIT_STATUS)

    def _end_as_failed(self) -> None:
        """Last of all, where the orderly end came to its end."""
        if self._has_given_up:
            logging.shutdown()
            os._exit(EXIT_STATUS)
