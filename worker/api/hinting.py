"""Hints leave from a thread of their own: no answer waits for a broker that is away or hangs.

A job that is asked for alone is hinted at once. After a message there is a pause, in which the jobs of other requests
gather for the next one: jobs that a worker hears of together share its transactions. The row is what was asked for; a
hint that is dropped here costs the second until the dispatcher looks.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from queue import Empty, Full, Queue
from threading import Event, Thread

from sqlalchemy import Connection

from worker.commit_hints import Hint, Sending, send_hints
from worker.database import AFTER_COMMIT, Database

BACKLOG_MAX = 1000
"""So many requests' hints may wait for their turn; with a broker that is well, it is a handful."""

PAUSE_S = 0.1
"""Between two messages. At 200 requests a second a job costs the workers half of what it costs with 0.02, and with 0.2
little less."""

_CLOSE_S = 1


class Hinting:
    """For one process; threads may share it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._backlog: Queue[list[Hint]] = Queue(BACKLOG_MAX)
        self._closing = Event()
        self._thread = Thread(target=self._send, name="hints", daemon=True)
        self._thread.start()

    def transaction(self) -> AbstractContextManager[Connection]:
        """As `Database.transaction`, but the hints that follow its commit are sent by the thread."""
        return self._hinting_after(self._database.transaction())

    def single_statements(self) -> AbstractContextManager[Connection]:
        """As `Database.single_statements`, with the same difference."""
        return self._hinting_after(self._database.single_statements())

    @contextmanager
    def _hinting_after(self, transaction: AbstractContextManager[Connection]) -> Iterator[Connection]:
        actions: list[Callable[[], None]] = []
        with transaction as connection:
            yield connection.execution_options(**{AFTER_COMMIT: actions})
        for action in actions:
            if isinstance(action, Sending):
                self._offer(action.hints)
            else:
                action()

    def close(self) -> None:
        """Stop once the hints under way have left; the others are the dispatcher's."""
        self._closing.set()
        self._offer([])  # wakes a thread that has nothing to do
        self._thread.join(_CLOSE_S)

    def _offer(self, hints: list[Hint]) -> None:
        try:
            self._backlog.put_nowait(hints)
        except Full:
            return

    def _send(self) -> None:
        while not self._closing.is_set():
            gathered = list(self._backlog.get())
            try:
                while len(gathered) < BACKLOG_MAX:
                    gathered += self._backlog.get_nowait()
            except Empty:
                pass
            send_hints(gathered)
            self._closing.wait(PAUSE_S)
