"""The dispatcher on real servers: it hints at what its process wants, and at nothing twice without reason."""

import contextlib
import json
import socket
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from unittest.mock import Mock
from uuid import UUID

import pytest
import redis

from tests.waiting import until
from tests.worker.asking import ask, change, job
from worker import window
from worker.database import Database
from worker.hints import Hints
from worker.process.dispatcher import Dispatcher
from worker.process.room import Room
from worker.settings import Settings

ROOM = 10


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def hinted(client: redis.Redis) -> Callable[[], list[list[UUID]]]:
    """The ids that the waiting messages name, message by message."""

    def hinted() -> list[list[UUID]]:
        messages = [json.loads(raw) for raw in client.lrange("verification", 0, -1)]
        return [[UUID(i) for i in json.loads(b64decode(message["body"]))[0][0]] for message in messages]

    return hinted


@pytest.fixture
def dispatcher(settings: Settings, db: Database) -> Iterator[Dispatcher]:
    hints = Hints(settings.celery_broker_url)
    dispatcher = Dispatcher(settings, db, hints, Room(ROOM), ["verification"])
    yield dispatcher
    dispatcher.close()
    hints.close()


def ids_in(messages: list[list[UUID]]) -> list[UUID]:
    return [job_id for message in messages for job_id in message]


def settle(db: Database) -> None:
    change(db, "run_at = now() - interval '1 second' WHERE state = 'ready'")


def test_a_hint_carries_ids_and_nothing_else(
    dispatcher: Dispatcher, db: Database, hinted: Callable[[], list[list[UUID]]], client: redis.Redis
) -> None:
    ids = ask(db, 3, note="said only in PostgreSQL")
    settle(db)
    dispatcher.start()
    until(lambda: len(ids_in(hinted())) == 3)
    assert sorted(ids_in(hinted())) == sorted(ids)
    assert b"said only" not in b"".join(client.lrange("verification", 0, -1))  # type: ignore[arg-type]  # redis types it for both its clients


def test_the_backlog_stays_in_postgresql(
    dispatcher: Dispatcher, db: Database, hinted: Callable[[], list[list[UUID]]]
) -> None:
    ask(db, 500)
    settle(db)
    dispatcher.start()
    until(lambda: len(ids_in(hinted())) >= ROOM)
    for _ in range(5):
        dispatcher.wake()
    assert len(ids_in(hinted())) < 10 * ROOM


def test_the_ledger_was_searched_for_each_job_that_ended_though_nothing_more_was_due(
    dispatcher: Dispatcher, db: Database, hinted: Callable[[], list[list[UUID]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.process.dispatcher._CALM_FOR_S", 60)
    ask(db, ROOM - 1)
    settle(db)
    dispatcher.start()
    until(lambda: len(ids_in(hinted())) == ROOM - 1)
    pick, made_round = Mock(side_effect=window.pick), Mock()
    monkeypatch.setattr(window, "pick", pick)
    monkeypatch.setattr(dispatcher.thread, "made_round", made_round)

    def is_asked_again() -> bool:
        dispatcher.wake()
        return made_round.call_count >= 5

    until(is_asked_again)
    assert not pick.called


def test_a_flushed_hint_is_missed_after_a_few_seconds(
    dispatcher: Dispatcher, db: Database, hinted: Callable[[], list[list[UUID]]], client: redis.Redis
) -> None:
    (job_id,) = ask(db)
    settle(db)
    dispatcher.start()
    until(lambda: hinted() == [[job_id]])
    client.flushall()
    until(lambda: hinted() == [[job_id]], 15)


def test_the_jobs_of_the_dead_are_freed_and_hinted(
    dispatcher: Dispatcher, db: Database, hinted: Callable[[], list[list[UUID]]]
) -> None:
    (job_id,) = ask(db)
    change(db, "state = 'running', lease_until = now() - interval '1 second', leased_by = 'the dead', fence = 1")
    dispatcher.start()
    until(lambda: hinted() == [[job_id]])
    assert job(db, job_id)["crashes"] == 1


def test_a_broker_that_was_away_held_up_every_enqueue_for_six_seconds_of_new_tries() -> None:
    tries = 0
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            nonlocal tries
            with contextlib.suppress(OSError):  # the test is over
                while True:
                    connection, _ = server.accept()
                    tries += 1
                    connection.close()

        threading.Thread(target=refuse, daemon=True).start()
        hints = Hints(f"redis://127.0.0.1:{server.getsockname()[1]}/0")
        assert not hints.send("verification", "test.run", [])
        assert hints.depth("verification") is None, "left alone for a moment"
        hints.close()
    assert 1 <= tries <= 4


def test_it_outlives_a_broker_that_is_away(settings: Settings, db: Database) -> None:
    hints = Hints("redis://127.0.0.1:1/0")
    dispatcher = Dispatcher(settings, db, hints, Room(ROOM), ["verification"])
    (dead,) = ask(db)
    change(db, "state = 'running', lease_until = now() - interval '1 second', leased_by = 'the dead', fence = 1")
    dispatcher.start()
    until(lambda: job(db, dead)["state"] == "ready")
    assert hints.depth("verification") is None
    dispatcher.close()
    hints.close()
