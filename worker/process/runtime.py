"""What one worker process holds open: database, engine, lease renewal, dispatcher.

Built once in each process that runs jobs, after the fork: connections and threads don't survive one.
"""

import gc
import sys
import threading
import time
from collections.abc import Mapping, Sequence

import structlog

from worker import spans
from worker.crypto import Keyring
from worker.database import Database
from worker.health.readiness import Readiness
from worker.hints import Hints
from worker.job import Surroundings, declared
from worker.process.beat import BeatThread
from worker.process.dispatcher import Dispatcher
from worker.process.engine import Engine
from worker.process.leases import LeaseRenewal
from worker.process.presence import Presence
from worker.process.progress import Progress
from worker.process.vital import VitalThread
from worker.settings import Settings

_log = structlog.get_logger(__name__)

_SWITCH_INTERVAL_S = 0.0005
"""How long one thread may keep others from running Python. By default a transaction's thread waits 5 ms for the busy
event loop after each answer of PostgreSQL; a tenth of that gave a process a fifth more jobs a second."""

HINTS = "hints"
"""The part that complains where none arrive."""

_LOOK_EVERY_S = 3.0
_SILENT_S = 120
"""No round of a vital thread takes this long, whatever of the database's limits of time it meets."""

_GARBAGE_AFTER = (50_000, 10, 100)
"""So many more containers start a look for garbage in cycles among the youngest, so many of those looks one among the
older, and of these one at all. Jobs leave little garbage of that kind, and five hundred of them in hand are a hundred
thousand containers that no look can free: with Python's own 700, 10 and 10 the looking was a quarter of the event
loop's CPU, with 10,000, 10 and 10 still a tenth."""


class Runtime:
    """Runs the jobs of `queues` from its construction on, until `close`; and the clock, if it is given a beat."""

    def __init__(self, settings: Settings, queues: Sequence[str], beat: BeatThread | None = None) -> None:
        keyring = Keyring.of(settings)
        self._is_stopping = False
        spans.configure("integration-worker")
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        self._database = Database(settings)
        self._hints = Hints(settings.celery_broker_url)
        surroundings = Surroundings(settings, keyring)
        self.metrics = surroundings.metrics
        self.engine = Engine(self._database, surroundings, on_room=self._wake)
        self.metrics.watch_pool(self._database)
        self.metrics.gauge("worker_jobs_in_flight", "Jobs of this process.", lambda: len(self.engine.running()))
        self.metrics.gauge("worker_jobs_room", "As many it works on at most.", lambda: settings.calls_in_flight)
        self._readiness = Readiness(settings)
        self._presence = Presence(self._database, self.engine, queues, calls_in_flight=settings.calls_in_flight)
        self._leases = LeaseRenewal(settings, self._database, self.engine, self._presence)
        self._dispatcher = Dispatcher(settings, self._database, self._hints, self.engine.room, queues)
        self.metrics.gauge(
            "worker_dispatcher_last_round_seconds", "How long ago.", lambda: self._dispatcher.thread.silent_s
        )
        self._progress = Progress(
            self._database, self._hints, self.engine,
            queues=queues, kinds=declared(), stuck_after_s=settings.stuck_after_s,
        )  # fmt: skip
        self._beat = beat
        self._is_closing = threading.Event()
        self._watch = VitalThread("progress", self._look)
        gc.collect()
        gc.freeze()  # what was loaded so far stays: no collection looks at it again
        gc.set_threshold(*_GARBAGE_AFTER)
        self._leases.start()
        self._dispatcher.start()
        self._watch.start()
        if beat is not None:
            beat.start()
        _log.info("runtime.started", owner=self.engine.owner, queues=",".join(queues))

    def stuck(self) -> Mapping[str, str]:
        """What does not come forward here any more, by part; empty where all is well."""
        threads = [self._dispatcher.thread, self._leases.thread, self._watch]
        if self._beat is not None:
            threads.append(self._beat.thread)
        complaints = {
            thread.name: f"it has made no round for {thread.silent_s:.0f} s"
            for thread in threads
            if thread.silent_s > _SILENT_S
        }
        if deaf := self._progress.complaint:
            complaints[HINTS] = deaf
        return complaints

    def is_running(self) -> bool:
        """Whether jobs run here."""
        return bool(self.engine.running())

    def unready(self) -> Mapping[str, str]:
        """Why no job would run here, by part; empty if it would."""
        ending = {"worker": "it is ending"} if self._is_stopping else {}
        return {**ending, **self._readiness.failing()}

    def stop(self) -> None:
        """Take nothing more; what runs may end. Safe in a signal handler."""
        self._is_stopping = True
        if self._beat is not None:
            self._beat.stop()
        self._dispatcher.stop()
        self.engine.stop()
        self._presence.end()

    def close(self) -> None:
        """After the last job: let go of everything."""
        self.stop()
        self.engine.close()
        self._dispatcher.close()
        self._leases.close()
        self._is_closing.set()
        self._watch.join(timeout=10)
        self._hints.close()
        self._readiness.close()
        spans.close()
        self._database.close()

    def _look(self) -> None:
        while not self._is_closing.wait(_LOOK_EVERY_S):
            self._watch.made_round()
            self._progress.look(time.monotonic())

    def _wake(self) -> None:
        self._dispatcher.wake()
