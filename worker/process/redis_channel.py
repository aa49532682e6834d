"""How a worker takes messages from Redis, where kombu 5.7.0 doesn't serve it well enough.

**Several at once.** Kombu asks for one message, waits for it, and asks for the next: with a job in each, that is a
quarter of a worker's CPU. `BLMPOP` (Redis 7, Valkey) gives as many as are there. A server that doesn't know it, or a
user who may not call it, is asked as kombu asks.

**What is no message.** Whoever can write to Redis ended a worker by a few letters in its queue. They are left out.

**A lost connection.** Kombu closes it a second time, and by then the channel has no transport left: asking it for
connection parameters, to put unacknowledged messages back, fails with an AttributeError that Celery doesn't expect, and
the worker exits. Celery does expect Redis' own ConnectionError, and goes on to reconnect. To be dropped when kombu
handles it; `tests/chaos/test_servers_go_away.py` tells.
"""

from queue import Empty
from time import monotonic
from typing import Any

import orjson
import structlog
from kombu.transport import redis
from kombu.utils.encoding import bytes_to_str
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

_log = structlog.get_logger(__name__)

AT_ONCE = 20
"""Messages: of more, the process that asks first would leave too few for its neighbours."""


_Kombus: Any = redis.Channel  # which has no types


class Channel(_Kombus):  # type: ignore[misc]  # for that reason
    """Kombu's, with the parts of it replaced that are told of above. The names of all parts are kombu's."""

    _takes_several = True

    def _brpop_start(self, timeout: float | None = None) -> None:
        if not self._takes_several:
            super()._brpop_start(timeout)
            return
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        keys = [self._q_for_pri(queue, step) for step in self.priority_steps for queue in queues]
        wait_s = self.brpop_timeout if timeout is None else timeout
        credit = self.qos.can_consume_max_estimate()
        at_once = AT_ONCE if credit is None else min(credit, AT_ONCE)
        connection = self.client.connection
        self._in_poll, self._brpop_sent_at = connection, monotonic()
        connection.send_command("BLMPOP", wait_s or 0, len(keys), *keys, "RIGHT", "COUNT", at_once)

    def _brpop_read(self, **options: Any) -> bool:
        if not self._takes_several:
            return bool(super()._brpop_read(**options))
        try:
            taken = self._taken()
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()
        if not taken:
            raise Empty
        key, messages = taken
        queue = bytes_to_str(key).rsplit(self.sep, 1)[0]
        self._queue_cycle.rotate(queue)
        for message in messages:
            try:
                envelope = orjson.loads(message)
            except orjson.JSONDecodeError:
                _log.warning("broker.unreadable_message", queue=queue)
                continue
            self.connection._deliver(envelope, queue)
        return True

    def _taken(self) -> Any:
        """The reply: the key of a list and its messages, oldest first, or None."""
        client = self.client
        try:
            return client.parse_response(client.connection, "BLMPOP")
        except self.connection_errors:
            client.connection.disconnect()
            raise
        except ResponseError as error:
            _log.warning("broker.takes_one_by_one", error=type(error).__name__)
            self._takes_several = False
            return None

    def _connparams(self, *args: Any, **kwargs: Any) -> Any:
        if self.connection is None or self.connection.client is None:
            raise RedisConnectionError("the channel is closed already")
        return super()._connparams(*args, **kwargs)


def install() -> None:
    """Have this process' connections to Redis use it."""
    redis.Transport.Channel = Channel
