"""What one worker process holds open: database, engine, lease renewal, dispatcher.

Built once in each process that runs jobs, after the fork: connections and threads don't survive one.
"""

import sys
from collections.abc import Sequence

import structlog

from worker.crypto import Keyring
from worker.database import Database
from worker.hints import Hints
from worker.job import Surroundings
from worker.process.dispatcher import Dispatcher
from worker.process.engine import Engine
from worker.process.leases import LeaseRenewal
from worker.process.presence import Presence
from worker.settings import Settings

_log = structlog.get_logger(__name__)

_SWITCH_INTERVAL_S = 0.0005
"""How long one thread may keep others from running Python. By default a transaction's thread waits 5 ms for the busy
event loop after each answer of PostgreSQL; a tenth of that gave a process a fifth more jobs a second."""


class Runtime:
    """Runs the jobs of `queues` from its construction on, until `close`."""

    def __init__(self, settings: Settings, queues: Sequence[str]) -> None:
        keyring = Keyring.of(settings)
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        self._database = Database(settings)
        self._hints = Hints(settings.celery_broker_url)
        self.engine = Engine(self._database, Surroundings(settings, keyring), on_room=self._wake)
        self._presence = Presence(self._database, self.engine, queues, calls_in_flight=settings.calls_in_flight)
        self._leases = LeaseRenewal(settings, self._database, self.engine, self._presence)
        self._dispatcher = Dispatcher(settings, self._database, self._hints, self.engine.room, queues)
        self._leases.start()
        self._dispatcher.start()
        _log.info("runtime.started", owner=self.engine.owner, queues=",".join(queues))

    def stop(self) -> None:
        """Take nothing more; what runs may end. Safe in a signal handler."""
        self._dispatcher.stop()
        self.engine.stop()
        self._presence.end()

    def close(self) -> None:
        """After the last job: let go of everything."""
        self.stop()
        self.engine.close()
        self._dispatcher.close()
        self._leases.close()
        self._hints.close()
        self._database.close()

    def _wake(self) -> None:
        self._dispatcher.wake()
