"""A worker's channel to a real Valkey: what it takes, in which order, and how many at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from kombu import Connection, Consumer, Producer, Queue
from kombu.transport.redis import Transport as KombusTransport
from structlog.testing import capture_logs

from worker.broker import celery_configuration
from worker.process.redis_channel import AT_ONCE, Channel

QUEUE = Queue("verification")


class Transport(KombusTransport):
    Channel = Channel


@contextmanager
def connected(redis_url: str) -> Iterator[Connection]:
    options = celery_configuration(redis_url)["broker_transport_options"]
    with Connection(redis_url, transport=Transport, transport_options=options) as connection:
        yield connection


def publish(redis_url: str, count: int) -> None:
    with connected(redis_url) as connection:
        for number in range(count):
            Producer(connection).publish(number, routing_key=QUEUE.name, declare=[QUEUE], serializer="json")


def received(connection: Connection, wanted: int, *, at_most: int = 0, acknowledge: bool = True) -> list[int]:
    """What a consumer gets, until it has `wanted` or hears nothing for a moment. `at_most` unacknowledged; 0: any."""
    got: list[int] = []

    def take(body: int, message: Any) -> None:
        got.append(body)
        if acknowledge:
            message.ack()

    with Consumer(connection, [QUEUE], callbacks=[take], accept=["json"]) as consumer:
        consumer.qos(prefetch_count=at_most)
        try:
            while len(got) < wanted:
                connection.drain_events(timeout=0.5)
        except TimeoutError:
            pass
    return got


def pops(client: redis.Redis) -> dict[str, int]:
    statistics: Any = client.info("commandstats")
    return {name: statistics.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("blmpop", "brpop")}


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        client.config_resetstat()
        yield client


def test_messages_that_wait_are_taken_together_and_in_turn(redis_url: str, client: redis.Redis) -> None:
    publish(redis_url, 2 * AT_ONCE + 1)
    with connected(redis_url) as connection:
        assert received(connection, 2 * AT_ONCE + 1) == list(range(2 * AT_ONCE + 1))
    assert pops(client) == {"blmpop": 3, "brpop": 0}


def test_letters_in_a_queue_that_were_no_message_ended_the_worker(redis_url: str, client: redis.Redis) -> None:
    publish(redis_url, 1)
    client.lpush(QUEUE.name, "no message")
    publish(redis_url, 1)
    with capture_logs() as logs, connected(redis_url) as connection:
        assert received(connection, 2) == [0, 0]
    assert [(entry["event"], entry["queue"]) for entry in logs] == [("broker.unreadable_message", QUEUE.name)]


def test_no_more_are_taken_than_may_be_in_hand(redis_url: str, client: redis.Redis) -> None:
    publish(redis_url, 7)
    with connected(redis_url) as connection:
        assert received(connection, 7, at_most=5, acknowledge=False) == [0, 1, 2, 3, 4]
        assert client.llen(QUEUE.name) == 2


def test_a_message_that_comes_later_is_waited_for(redis_url: str) -> None:
    with connected(redis_url) as connection:
        assert received(connection, 1) == []
        publish(redis_url, 1)
        assert received(connection, 1) == [0]


def test_a_server_that_refuses_several_gives_them_one_by_one(redis_url: str, client: redis.Redis) -> None:
    client.acl_setuser(
        "old", enabled=True, passwords=["+old"], keys=["*"], channels=["*"], commands=["+@all", "-blmpop"]
    )
    publish(redis_url, 3)
    try:
        with capture_logs() as logs, connected(f"redis://old:old@{redis_url.rpartition('@')[2]}") as connection:
            assert received(connection, 3) == [0, 1, 2]
    finally:
        client.acl_deluser("old")
    assert [entry["event"] for entry in logs] == ["broker.takes_one_by_one"]
    assert pops(client)["brpop"] >= 3


def test_a_lost_connection_is_an_error_that_celery_expects(redis_url: str, client: redis.Redis) -> None:
    with connected(redis_url) as connection:
        assert received(connection, 1) == []
        client.client_kill_filter(_type="normal", skipme=True)
        with pytest.raises(connection.connection_errors):
            received(connection, 1)
