"""Whether a service answers yet, and how many workers listen."""

import http.client
import socket

from redis import Redis
from redis.exceptions import RedisError

PATIENCE_S = 1.0
_BLOCKING_POPS = ("blmpop", "brpop")


def accepts(port: int) -> bool:
    """Whether something listens on the loopback port."""
    with socket.socket() as probe:
        probe.settimeout(PATIENCE_S)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def answers(port: int, path: str) -> bool:
    """Whether GET gives 200. Never through a proxy, whatever the environment says."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def listeners(redis_url: str) -> int:
    """How many Celery workers wait for messages: each then keeps one connection in a blocking pop. 0 without Redis."""
    try:
        with Redis.from_url(redis_url, socket_timeout=PATIENCE_S) as client:
            return sum(connection["cmd"] in _BLOCKING_POPS for connection in client.client_list())
    except RedisError:
        return 0
