"""The way of a hint from Celery's consumer to the engine, without the stops between.

By Celery's own way a message becomes a request, waits for a thread of the pool, is traced there, and the thread does
nothing but wait for the engine. Where the engine lives in the consumer's own process, as with the pool `threads`, the
hint goes to it directly: Celery's `Strategy` is the place where a task may say so.

A hint is acknowledged when its jobs have places here or were given back. Until then it counts against the prefetch
limit, so what this process has no room for stays in the broker. Whatever a hint of ours is not, and all of them while
somebody watches (task events, for Flower), takes Celery's own way, which ends in the same engine.
"""

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

from celery.concurrency.thread import TaskPool as ThreadPool
from celery.exceptions import InvalidTaskError
from celery.utils.log import get_logger
from celery.worker.strategy import default as celerys_own

from worker.job import Kind
from worker.process.engine import Engine

_log = get_logger(__name__)

_Handler = Callable[[Any, Any, Any, Any, Any], None]
"""Of a message: called with it, its payload if it was decoded already, and what acknowledges or rejects it."""


class Shortcut:
    """A `Strategy` for one kind's task. `engine` is asked for it when a hint comes: it is built after the fork."""

    def __init__(self, kind: Kind, engine: Callable[[], Engine]) -> None:
        self._kind = kind
        self._engine = engine

    def __call__(self, task: Any, app: Any, consumer: Any) -> _Handler:
        """Celery asks for a handler each time it has connected to the broker."""
        long_way: _Handler = celerys_own(task, app, consumer)
        if not isinstance(consumer.pool, ThreadPool):
            return long_way

        def handle(message: Any, payload: Any, acknowledge: Any, reject: Any, callbacks: Any) -> None:
            if payload is not None or callbacks or _is_watched(consumer) or _is_special(message.headers, consumer):
                long_way(message, payload, acknowledge, reject, callbacks)
                return
            dealt_with = partial(acknowledge, _log, consumer.connection_errors)
            self._engine().hand_over(self._kind, _ids(message), dealt_with)

        return handle


def _is_watched(consumer: Any) -> bool:
    """Whether task events are sent; Flower switches them on in a worker that runs."""
    events = consumer.event_dispatcher
    return bool(events and events.enabled and (not events.groups or "task" in events.groups))


def _is_special(headers: Any, consumer: Any) -> bool:
    """Whether Celery may have something to do about it before it runs, or instead; we send no such hints."""
    return any(map(headers.get, _SPECIAL)) or headers.get("id") in consumer.controller.state.revoked


_SPECIAL = ("eta", "expires", "stamped_headers")


def _ids(message: Any) -> list[UUID]:
    """The jobs that a message names. Raises what Celery expects of a strategy, logs, and rejects the message for."""
    try:
        (named,), _, _ = message.payload
        return [UUID(job_id) for job_id in named]
    except (TypeError, ValueError, AttributeError) as error:
        raise InvalidTaskError(f"a hint names jobs by their ids: {type(error).__name__}") from None
