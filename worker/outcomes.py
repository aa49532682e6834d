"""How one run of a job can end, as values.

`act` returns one of these; the ledger turns it into the job's next state. Only the first carries a result.
Texts here are read by operators and leave PostgreSQL in logs: codes and ids, never personal data.
"""

from datetime import timedelta
from typing import Generic, TypeVar

from worker.values import value

T = TypeVar("T")


@value
class Done(Generic[T]):
    """The work is done; `result` goes to the kind's `save`."""

    result: T


@value
class Retry(Generic[T]):
    """An error that may pass: try again `after` this long. Spends an attempt; the last one spent is the end.

    `result` is what `save` should keep of the failed try, if anything.
    """

    code: str
    after: timedelta
    message: str = ""
    result: T | None = None


@value
class Snooze(Generic[T]):
    """Not our turn yet (a limit, an outage, a shutdown): come back `after` this long. Spends no attempt.

    `given_back`: as many attempts that were spent before turn out to be nobody's fault, and don't count any more.
    """

    reason: str
    after: timedelta
    result: T | None = None
    given_back: int = 0


@value
class GiveUp(Generic[T]):
    """No try will help. `code` names the reason for programs, `message` for people."""

    code: str
    message: str = ""
    result: T | None = None


@value
class Expired:
    """The deadline passed before the work began. Given by the engine, never by `act`."""


@value
class Cancelled:
    """Somebody asked for the job to stop. Given by the engine, or by maintenance that found out for itself."""


Outcome = Done[T] | Retry[T] | Snooze[T] | GiveUp[T] | Expired | Cancelled
