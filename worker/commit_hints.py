"""Hints leave once the caller's transaction has committed, many jobs in one message.

Loaded by applications that only ask for jobs: what sends the messages is imported when there is one to send, and where
it is not installed the dispatcher finds the rows.
"""

from collections.abc import Sequence
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from worker.hints import Hints

HINTS_AT_ENQUEUE = 200
"""With hints at so many jobs in the broker, enqueue sends no more: the dispatcher refills the window in fair order.
Messages there stand in the order of their coming: ten thousand jobs of one tenant must not come before another's first.
"""

Hint = tuple[str, str, UUID]
"""Queue, kind and job."""


class Sending:
    """Hints that wait for a commit. One object a transaction, so that its jobs share messages."""

    def __init__(self, hints: Sequence[Hint]) -> None:
        self.hints = list(hints)

    def __call__(self) -> None:
        send_hints(self.hints)


def hint_after_commit(session: "Session | Connection", hints: Sequence[Hint]) -> None:
    """A plain connection of the caller's own says nothing about its commit: there the dispatcher finds the rows."""
    from sqlalchemy import Connection

    if isinstance(session, Connection):
        from worker.database import actions_after_commit

        actions = actions_after_commit(session)
        if actions and isinstance(actions[-1], Sending):
            actions[-1].hints.extend(hints)
        elif actions is not None:
            actions.append(Sending(hints))
        return
    if _PENDING not in session.info:
        from sqlalchemy import event

        session.info[_PENDING] = []
        event.listen(session, "after_commit", _on_commit)
        event.listen(session, "after_soft_rollback", _on_rollback)
    session.info[_PENDING].extend(hints)


_PENDING = "jobs to hint at after the commit"


def _on_commit(session: "Session") -> None:
    if session.in_nested_transaction():
        return  # SQLAlchemy calls this for a released savepoint too; the outer transaction may still roll back
    pending, session.info[_PENDING] = session.info[_PENDING], []
    send_hints(pending)


def _on_rollback(session: "Session", _: object) -> None:
    """After a savepoint's rollback the hints of the outer part stay: one too many is refused, none is lost."""
    if not session.in_transaction():
        session.info[_PENDING] = []


def send_hints(pending: Sequence[Hint]) -> None:
    """Hint at jobs whose transaction has committed. Does nothing where no broker is known, is away or is well fed."""
    from worker.settings import load_broker_url

    if not pending or (broker_url := load_broker_url()) is None or (hints := _hints(broker_url)) is None:
        return
    for (queue, kind), jobs in groupby(sorted(pending), key=itemgetter(0, 1)):
        if (depth := hints.depth(queue)) is None:
            continue
        ids = [job_id for _, _, job_id in jobs]
        # Who has one job takes those in the broker for single ones too, who has many for full messages like his own.
        room = HINTS_AT_ENQUEUE - depth * min(len(ids), hints.message_max)
        for start in range(0, min(len(ids), room), hints.message_max):
            hints.send(queue, kind, ids[start : min(start + hints.message_max, room)])


@cache
def _hints(broker_url: str) -> "Hints | None":
    try:
        from worker.hints import Hints
    except ModuleNotFoundError as error:
        if error.name not in ("celery", "kombu", "redis", "structlog"):
            raise
        return None  # installed without the extra `hints`
    return Hints(broker_url)
