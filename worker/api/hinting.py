"""Hints leave from a thread of their own: no answer waits for a broker that is away or hangs.

The row is what was asked for; a hint that is dropped here costs the second until the dispatcher looks.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Full, Queue
from threading import Thread

from sqlalchemy import Connection

from worker.database import AFTER_COMMIT, Database

BACKLOG_MAX = 1000
"""So many may wait for their turn; with a broker that is well, it is a handful."""

_CLOSE_S = 1


class Hinting:
    """For one process; threads may share it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._backlog: Queue[Callable[[], None]] = Queue(BACKLOG_MAX)
        self._is_closing = False
        self._thread = Thread(target=self._send, name="hints", daemon=True)
        self._thread.start()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """As `Database.transaction`, but what is to be done after the commit is done by the thread."""
        hints: list[Callable[[], None]] = []
        with self._database.transaction() as connection:
            yield connection.execution_options(**{AFTER_COMMIT: hints})
        for hint in hints:
            self._offer(hint)

    def close(self) -> None:
        """Stop once the hint under way has left; the others are the dispatcher's."""
        self._is_closing = True
        self._offer(lambda: None)  # wakes a thread that has nothing to do
        self._thread.join(_CLOSE_S)

    def _offer(self, hint: Callable[[], None]) -> None:
        try:
            self._backlog.put_nowait(hint)
        except Full:
            return

    def _send(self) -> None:
        while not self._is_closing:
            self._backlog.get()()
