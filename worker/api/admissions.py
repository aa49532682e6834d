"""Requests that ask for a verification at about the same time are admitted and written together.

That takes two statements and one wait for the disk, however many they are: the more requests there are, the less each
of them costs, so that a flood is answered late and not never. Each has an answer of its own nevertheless. Where
PostgreSQL refuses what many wanted, each is written by itself: only the one it was about fails, or waits for a lock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from fastapi import HTTPException
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from starlette.concurrency import run_in_threadpool

from worker.api.asking import Asked, VerificationRequest, answers_to, wanted_by
from worker.api.auth import Shown, admit_all
from worker.api.hinting import Hinting
from worker.api.tokens import Caller
from worker.bulk import Refused, Verification, enqueue_verifications
from worker.database import is_undone
from worker.enqueue import EnqueuedVerification
from worker.errors import BadRequest
from worker.gather import Gatherer

AT_MOST = 50
AT_ONCE = 2
ALONE_S = 0.05
"""Whatever comes while a transaction is under way gathers for the next; another begins beside it only if it is held up.
Nobody waits but then: to wait 4 ms for others takes a tenth off the CPU of a request, and adds as much to its time."""

PATIENCE = timedelta(milliseconds=200)
"""So long a lock is waited for here. Whoever else holds it, a key or a row, it concerns one request; that one waits by
itself, where it holds up nobody."""


@dataclass(frozen=True, slots=True)
class Asking:
    """A request whose form is right, and nothing else of it looked at yet."""

    token: Shown
    asked: VerificationRequest
    idempotency_key: str | None
    correlation_id: str
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class _Admitted:
    """What is asked for in an admitted caller's name, to be written."""

    wanted: Verification
    traceparent: str | None


_Answer = Asked | Refused | HTTPException | BadRequest


class Admissions:
    """Lives in one event loop."""

    def __init__(self, hinting: Hinting) -> None:
        self._hinting = hinting
        self._gathered: Gatherer[Asking, _Answer | _Admitted] = Gatherer(
            self._in_thread, linger_s=0, at_most=AT_MOST, at_once=AT_ONCE, alone_s=ALONE_S
        )

    async def ask(self, asking: Asking) -> Asked:
        """The job, committed. Raises `HTTPException` where the token is refused, and `BadRequest`."""
        answer = await self._gathered.submit(asking)
        if isinstance(answer, _Admitted):
            answer = await run_in_threadpool(self._write_alone, answer)
        if isinstance(answer, Refused):
            raise BadRequest(answer.code, answer.sentence)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _in_thread(self, together: list[Asking]) -> list[_Answer | _Admitted]:
        return await run_in_threadpool(self._admit_and_write, together)

    def _admit_and_write(self, together: list[Asking]) -> list[_Answer | _Admitted]:
        """Each statement is a transaction of its own: the counter of a client is not held until the disk is there."""
        with self._hinting.single_statements() as connection:
            callers = admit_all(connection, [one.token for one in together])
            answers = [_in_the_name_of(caller, one) for caller, one in zip(callers, together, strict=True)]
            admitted = [one for one in answers if isinstance(one, _Admitted)]
            try:
                enqueued = _enqueue(connection, admitted, PATIENCE)
            except DBAPIError as error:
                if not is_undone(error):
                    raise
                return answers  # nothing is written yet
            written = iter(answers_to(connection, list(zip((one.wanted for one in admitted), enqueued, strict=True))))
        return [next(written) if isinstance(one, _Admitted) else one for one in answers]

    def _write_alone(self, admitted: _Admitted) -> Asked | Refused:
        with self._hinting.single_statements() as connection:
            (enqueued,) = _enqueue(connection, [admitted])
            (answer,) = answers_to(connection, [(admitted.wanted, enqueued)])
        return answer


def _in_the_name_of(caller: Caller | HTTPException, asking: Asking) -> _Answer | _Admitted:
    if isinstance(caller, HTTPException):
        return caller
    try:
        wanted = wanted_by(caller, asking.asked, asking.idempotency_key, asking.correlation_id)
    except BadRequest as error:
        return error
    return _Admitted(wanted, asking.traceparent)


def _enqueue(
    connection: Connection, admitted: Sequence[_Admitted], lock_timeout: timedelta | None = None
) -> list[EnqueuedVerification | Refused]:
    wanted, traceparents = [one.wanted for one in admitted], [one.traceparent for one in admitted]
    return enqueue_verifications(connection, wanted, traceparents=traceparents, lock_timeout=lock_timeout)
