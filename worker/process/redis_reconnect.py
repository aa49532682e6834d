"""Keeps a worker alive when Redis goes away: a mend for kombu 5.7.0.

After the connection is lost, kombu closes it a second time. By then the channel has no transport left, and asking it
for connection parameters, to put unacknowledged messages back, fails with an AttributeError that Celery doesn't
expect: the worker exits. Celery does expect Redis' own ConnectionError, and goes on to reconnect. Needed with early
acknowledgement too, for messages that are fetched but not begun. To be dropped when kombu handles it;
`tests/chaos/test_servers_go_away.py` tells.
"""

from typing import Any

from kombu.transport import redis as transport
from redis.exceptions import ConnectionError as RedisConnectionError


def mend() -> None:
    """Make a closed channel say that it is closed."""
    connection_parameters = transport.Channel._connparams

    def _connparams(self: transport.Channel, *args: Any, **kwargs: Any) -> Any:
        if self.connection is None or self.connection.client is None:
            raise RedisConnectionError("the channel is closed already")
        return connection_parameters(self, *args, **kwargs)  # type: ignore[no-untyped-call]  # kombu has no types

    transport.Channel._connparams = _connparams  # type: ignore[method-assign]  # that is the mend
