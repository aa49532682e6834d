"""What the search for leaks finds, and in which disguises."""

import base64
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import orjson
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import text

from tests.conftest import DatabaseUrls, settings_for
from tests.tasks.verification.factories import insert_configuration
from worker.crypto import Keyring, Place
from worker.database import Database
from worker.dev.leaks import credentials, places
from worker.dev.leaks.canaries import Search, disguised, strangers, values_of, word
from worker.dev.leaks.places import Monitor, files, redis_keys
from worker.dev.sandbox.personas import PERSONAS

CANARY = "Kestrelbird"
SEARCH = Search({"last name of 0": CANARY, "birth date of 0": "1903-02-01"})


@pytest.mark.parametrize(
    "data",
    [
        CANARY.encode(),
        CANARY.upper().encode(),
        orjson.dumps({"a": [CANARY]}),
        quote(f"a={CANARY}&b").encode(),
        f"before{CANARY}after".encode(),
    ],
)
def test_a_name_is_found_in_any_clothes(data: bytes) -> None:
    assert SEARCH(data) == {"last name"}


def test_a_name_is_found_in_a_span_as_it_is_sent() -> None:
    provider, sent = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(sent))
    with provider.get_tracer("t").start_as_current_span("act") as span:
        span.set_attribute("who", CANARY)
    assert SEARCH(encode_spans(sent.get_finished_spans()).SerializeToString()) == {"last name"}


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_base64_is_looked_into_wherever_the_name_begins(before: bytes, after: bytes) -> None:
    encoded = base64.b64encode(before + CANARY.encode() + after)
    assert "something in base64" in SEARCH(encoded)


@given(st.binary(max_size=200))
def test_nothing_is_found_where_nothing_is(data: bytes) -> None:
    assert SEARCH(data.replace(b"1", b"0")) == set()


def test_a_number_within_a_longer_one_is_another_number() -> None:
    search = Search({"owner's number": "987654321", "password": "a+b/c=d?"})
    assert search(b"number=9876543210 of 1987654321") == set()
    assert search(b'{"owner_id":"987654321"}') == {"owner's number"}
    assert search(b"redis://:a%2Bb%2Fc%3Dd%3F@127.0.0.1") == {"password"}


def test_what_two_people_have_in_common_is_told_of_both_kinds() -> None:
    assert Search({"city of 0": CANARY, "last name of 1": CANARY.upper()})(CANARY.encode()) == {"city", "last name"}


def test_people_are_invented_for_every_api_and_known_to_the_sandbox_by_what_it_knows_them_by() -> None:
    guests = [*map(disguised, PERSONAS), *strangers()]
    assert {one.api for one in guests} == {"drivers", "criminal", "vehicles"}
    for before, after in zip(PERSONAS, guests, strict=False):
        known_by = {"drivers": "license_number", "criminal": "last_name", "vehicles": "vin"}[before.api]
        assert getattr(before, known_by) == getattr(after, known_by)
        if before.api != "vehicles":
            assert before.first_name != after.first_name
            assert before.date_of_birth != after.date_of_birth
    kinds = {what for one in guests for what in values_of(one)}
    assert kinds >= {"first name", "last name", "birth date", "licence number", "VIN", "street", "city"}
    shared = {value for one in PERSONAS for value in (one.license_number, one.last_name, one.vin)}
    assert not shared & {value for one in guests for value in values_of(one).values()}


def test_what_the_system_keeps_secret_is_searched_for(database: DatabaseUrls, db: Database, redis_url: str) -> None:
    settings = settings_for(
        database,
        redis_url,
        metrics_token="a metrics token of 16",
        MIGRATION_DATABASE_URL="postgresql://owner:of%20the-owner@127.0.0.1/x",
    )
    keyring = Keyring.of(settings)
    with redis.Redis.from_url(redis_url) as client:
        sealed = keyring.encrypt("the provider's token", Place("redis", "token", "verification:token:1:2"))
        client.set("verification:token:1:2", "d" * 64 + sealed)
        client.set("verification:token:1:2:lock", "x")
        client.set("verification:token:3:4", "refused:401")
        assert list(credentials.kept_tokens(client, keyring).values()) == ["the provider's token"]
    with db.transaction() as connection:
        insert_configuration(connection, keyring, "http://127.0.0.1:1")
        (secret,) = credentials.of_providers(connection, keyring).values()
        stored = connection.execute(text("SELECT auth_config::text FROM integration_configuration")).scalar_one()
    assert secret not in stored
    found = credentials.of_settings(settings, "user:flower's password")
    assert set(found.values()) == {
        settings.encryption_keys.get_secret_value().split(":", 1)[1],
        settings.blind_index_key.get_secret_value(),
        urlsplit(database.app_url).password,
        "of the-owner",
        urlsplit(redis_url).password,
        "flower's password",
        "a metrics token of 16",
    }


def test_words_are_of_this_run_only() -> None:
    assert len({word() for _ in range(1000)}) == 1000


def test_commands_were_missed_where_the_listener_had_no_time_to_read_them(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = redis.Connection.read_response

    def slow_where_it_listens(*args: Any, **kwargs: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            time.sleep(0.002)
        return read(*args, **kwargs)

    monkeypatch.setattr(redis.Connection, "read_response", slow_where_it_listens)
    monitor = Monitor(redis_url)
    monitor.start()
    with redis.Redis.from_url(redis_url) as client:
        for _ in range(200):
            client.ping()
    assert monitor.stop().count(b'"PING"') == 200


def test_every_kind_of_key_is_read_and_every_command_heard(redis_url: str) -> None:
    monitor = Monitor(redis_url)
    monitor.start()
    with redis.Redis.from_url(redis_url) as client:
        client.set("string", CANARY)
        client.rpush("list", CANARY)
        client.sadd("set", CANARY)
        client.zadd("zset", {CANARY: 1})
        client.hset("hash", "field", CANARY)
        client.xadd("stream", {"field": CANARY})
        client.set(CANARY, "key")
        client.publish("channel", CANARY)
        found = {place for place, data in redis_keys(client) if SEARCH(data)}
        client.ping()
    assert len(found) == 7
    heard = monitor.stop()
    assert [heard.count(command) for command in (b'"XADD"', b'"PUBLISH"', b'"PING"')] == [1, 1, 1]
    assert SEARCH(heard)


def test_a_canary_across_two_pieces_of_a_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log" / "worker.log"
    path.parent.mkdir()
    path.write_bytes(b"x" * 1020 + CANARY.encode() + b"y" * 1000)
    monkeypatch.setattr(places, "_CHUNK", 1024)
    assert {place for place, data in files([path.parent]) if SEARCH(data)} == {"file worker.log"}
