"""A beat in a thread of a worker, where one more process is not worth its memory.

Any number of beats may run, so every worker may have one; what a beat of its own tells at its port, the worker's tells.
"""

from functools import partial

from celery import Celery
from celery.beat import Service

from worker.clock.scheduler import LedgerScheduler
from worker.process.vital import VitalThread


class BeatThread:
    """Celery's own beat service, with our scheduler. An entry that can't run ends the worker's start, by its name."""

    def __init__(self, app: Celery) -> None:
        self._service = Service(app, scheduler_cls=partial(LedgerScheduler, on_look=self._looked))
        self.thread = VitalThread("beat", self._service.start)
        self._service.scheduler  # noqa: B018 - made here: in the thread, nobody would hear what it complains of

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        """After the look that is under way, if any, there is no other. Waits for nothing."""
        self._service.stop()

    def _looked(self) -> None:
        self.thread.made_round()
