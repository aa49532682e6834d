"""How a kind of job is declared, and where the declarations are found.

A kind is three functions. `load` reads what a run needs, `act` does the work without a database connection,
`save` writes what came out; `load` and `save` always take a list, so that jobs that start or end at the same
moment share a transaction. The declaration stands at the function that acts:

    @job("rating.recalculate", queue="rating", deadline_s=60, load=store.load, save=store.save)
    async def recalculate(quote: QuoteInputs) -> Outcome[Rated]: ...
"""

import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import field
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Connection

from worker.crypto import Keyring
from worker.metrics import Metrics
from worker.outcomes import Outcome
from worker.settings import Settings
from worker.values import value


@value
class Job:
    """One claimed row of the ledger. `fence` proves ownership; `attempt` counts the tries that ended in an error."""

    id: UUID
    kind: str
    args: dict[str, Any]
    attempt: int
    max_attempts: int
    crashes: int
    fence: int
    deadline_at: datetime | None
    is_expired: bool
    is_cancelled: bool
    time_left: timedelta | None
    """Until `deadline_at`, by the database's clock at the claim."""

    batch_id: UUID | None = None
    waited_s: float = 0
    """How long it had been due when it was claimed."""

    trace_context: str | None = None
    """The trace in which it was asked for: see `worker/traces.py`."""


@value
class Finished:
    """One job with what came out of its run. `inputs` is None where the run ended before `act`."""

    job: Job
    inputs: Any
    outcome: Outcome[Any]


class Load(Protocol):
    """Reads the inputs of claimed jobs, in the claim's transaction.

    Gives an entry for each job id: the inputs for `act`, or an `Outcome` that ends the run here.
    """

    def __call__(self, connection: Connection, jobs: Sequence[Job], /) -> Mapping[UUID, Any]: ...


class Save(Protocol):
    """Writes what came out of runs that still own their jobs, in the finish's transaction. Never commits.

    Sees every way a run can end, so that domain rows follow the job. May run again for the same jobs only if
    an earlier transaction was rolled back.
    """

    def __call__(self, connection: Connection, finished: Sequence[Finished], /) -> None: ...


@value
class Surroundings:
    """What a kind's `opens` may use to build the resource its `act` works with."""

    settings: Settings
    keyring: Keyring
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when the process is told to end: long work comes to a halt at its next good moment."""

    metrics: Metrics = field(default_factory=Metrics)
    """Of this process: a kind counts there what only it knows."""


Opens = Callable[[Surroundings], AbstractAsyncContextManager[Any]]


@value
class Kind:
    """A declared kind. `deadline_s` bounds one run of `act`; `backoff` gives the wait after a bug or an overrun."""

    name: str
    queue: str
    act: Callable[..., Awaitable[Outcome[Any]]]
    load: Load
    save: Save
    deadline_s: float
    max_attempts: int = 5
    opens: Opens | None = None
    """An async context manager, entered once in a process's event loop; what it yields is `act`'s second argument."""

    backoff: Callable[[int], timedelta] = field(default=lambda attempt: timedelta(seconds=min(300, 2**attempt)))


_kinds: dict[str, Kind] = {}


def job(
    name: str,
    *,
    queue: str,
    load: Load,
    save: Save,
    deadline_s: float,
    max_attempts: int = 5,
    opens: Opens | None = None,
) -> Callable[[Callable[..., Awaitable[Outcome[Any]]]], Kind]:
    """Declare a kind. Its name is a promise: rows, messages and the clock hold it."""

    def declare(act: Callable[..., Awaitable[Outcome[Any]]]) -> Kind:
        if name in _kinds:
            raise ValueError(f"two kinds are called {name}")
        kind = Kind(name, queue, act, load, save, deadline_s, max_attempts, opens)
        _kinds[name] = kind
        return kind

    return declare


def declared() -> Mapping[str, Kind]:
    """Every kind whose module was imported, by name."""
    return _kinds
