"""What the search for leaks finds, and in which disguises."""

import base64
from urllib.parse import quote

import orjson
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from worker.dev.leaks.canaries import Search, word
from worker.dev.leaks.places import Monitor, files, redis_keys

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


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_base64_is_looked_into_wherever_the_name_begins(before: bytes, after: bytes) -> None:
    encoded = base64.b64encode(before + CANARY.encode() + after)
    assert "something in base64" in SEARCH(encoded)


@given(st.binary(max_size=200))
def test_nothing_is_found_where_nothing_is(data: bytes) -> None:
    assert SEARCH(data.replace(b"1", b"0")) == set()


def test_words_are_of_this_run_only() -> None:
    assert len({word() for _ in range(1000)}) == 1000


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


def test_a_canary_across_two_pieces_of_a_file_is_found(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    from pathlib import Path

    from worker.dev.leaks import places

    path = Path(str(tmp_path)) / "log" / "worker.log"
    path.parent.mkdir()
    path.write_bytes(b"x" * 1020 + CANARY.encode() + b"y" * 1000)
    monkeypatch.setattr(places, "_CHUNK", 1024)
    assert {place for place, data in files([path.parent]) if SEARCH(data)} == {"file worker.log"}
