"""Sends hints: messages that tell some worker that some jobs are due.

Losing one costs a second of delay, so sending never fails the caller: a broker that is away or hangs is left alone for
a moment, and the dispatcher sends again.
"""

import time
from collections.abc import Sequence
from uuid import UUID

import structlog
from celery import Celery
from kombu.exceptions import ChannelError, KombuError
from redis.exceptions import RedisError

from worker.broker import celery_configuration, is_redis

_log = structlog.get_logger(__name__)

MESSAGE_MAX = 50
"""Jobs that one hint names at the most. Celery's cost is a message's, so under load many jobs share it."""

_SHOWN_MAX = 3

_LEFT_ALONE_S = 1.0
"""After a failure the broker isn't tried for this long: a thousand enqueues must not each wait for its timeout."""

IMPATIENT = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
"""By default kombu goes on trying to connect for six seconds, each time."""

AWAY = (OSError, KombuError, RedisError)


class Hints:
    """A publisher for one process; threads may share it."""

    message_max = MESSAGE_MAX

    def __init__(self, broker_url: str) -> None:
        self._app = Celery("hints", set_as_current=False)
        configuration = celery_configuration(broker_url)
        configuration["broker_transport_options"] = {
            **configuration.get("broker_transport_options", {}),
            **IMPATIENT,
            **({"socket_timeout": 2} if is_redis(broker_url) else {}),
        }
        self._app.conf.update(configuration)
        self._away_until = 0.0

    def send(self, queue: str, kind: str, ids: Sequence[UUID]) -> bool:
        """Hint at jobs of one kind; False if the broker is away."""
        if time.monotonic() < self._away_until:
            return False
        try:
            named = [str(job_id) for job_id in ids]
            self._app.send_task(kind, args=[named], argsrepr=_shown(named), queue=queue, retry=False)
        except AWAY as error:
            self._leave_alone(error)
            return False
        return True

    def depth(self, queue: str) -> int | None:
        """Messages that wait in the broker; None if it is away."""
        if time.monotonic() < self._away_until:
            return None
        try:
            with self._app.connection_or_acquire() as connection:
                try:
                    return int(connection.default_channel.queue_declare(queue, passive=True).message_count)
                except ChannelError:
                    return 0  # an empty queue doesn't exist on Redis
        except AWAY as error:
            self._leave_alone(error)
            return None

    def close(self) -> None:
        self._app.close()

    def _leave_alone(self, error: Exception) -> None:
        self._away_until = time.monotonic() + _LEFT_ALONE_S
        _log.warning("broker.away", error=type(error).__name__)


def _shown(ids: Sequence[str]) -> str:
    """What Flower tells of a hint. Celery would write out all the ids a second time."""
    if len(ids) == 1:
        return ids[0]
    more = " ..." if len(ids) > _SHOWN_MAX else ""
    return f"{len(ids)} jobs: {', '.join(ids[:_SHOWN_MAX])}{more}"
