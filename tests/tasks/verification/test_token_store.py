"""One fetch for everybody: tasks, processes, renewals and refusals."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from redis.asyncio import Redis
from redis.exceptions import TimeoutError as RedisTimeoutError

from tasks.verification.classify import Event, Status, Trouble
from tasks.verification.client import Exchange, Provider
from tasks.verification.credentials import read_credentials
from tasks.verification.drivers.question import request_body
from tasks.verification.token import Token
from tasks.verification.token_store import Fetched, TokenStore
from tests.tasks.verification.factories import (
    KEYRING,
    UNREACHABLE_REDIS,
    a_call,
    auth_config,
    make_account,
    make_question,
    provider,
    seal,
)
from worker.crypto import Keyring
from worker.dev.sandbox.personas import BY_LICENSE
from worker.dev.sandbox.server import SandboxServer

ROOT = Path(__file__).parents[3]
KEY = "verification:token:1:abc"


def token_requests(sandbox: SandboxServer) -> int:
    return sum(entry["path"] == "/oauth2/token" for entry in sandbox.journal())


def api_calls(sandbox: SandboxServer) -> int:
    return len(sandbox.journal()) - token_requests(sandbox)


async def ask(opened: Provider, url: str, number: str, config: dict[str, Any]) -> Exchange:
    account = make_account(url, auth_config=config)
    question = make_question(BY_LICENSE[number], account)
    headers = {"Idempotency-Key": str(uuid4()), "X-Correlation-Id": str(uuid4())}
    body = orjson.dumps(request_body(question, number))
    return await opened.call(
        a_call(account.url, body, headers), read_credentials(account, KEYRING), 10, is_sandbox=True
    )


async def ask_at_once(
    redis_url: str, url: str, times: int, number: str = "TX00000001", config: dict[str, Any] | None = None
) -> list[Event]:
    config = config or auth_config("oauth2", url)
    async with provider(redis_url) as opened:
        exchanges = await asyncio.gather(*(ask(opened, url, number, config) for _ in range(times)))
    return [exchange.reading.event for exchange in exchanges]


def wrong_config(url: str) -> dict[str, Any]:
    return auth_config("oauth2", url) | {"client_secret": seal("wrong", 1, "client_secret")}


@pytest.fixture(params=["with Redis", "without Redis"])
def cache(request: pytest.FixtureRequest) -> str:
    """URL of a Redis that is there, and of one that isn't."""
    if request.param == "with Redis":
        url: str = request.getfixturevalue("redis_url")
        return url
    return UNREACHABLE_REDIS


def test_a_hundred_calls_fetch_one_token(sandbox: SandboxServer, cache: str) -> None:
    assert set(asyncio.run(ask_at_once(cache, sandbox.url, 100))) == {Status(200)}
    assert (token_requests(sandbox), api_calls(sandbox)) == (1, 100)


TOGETHER = """
import asyncio, json, multiprocessing, sys
from tests.tasks.verification.test_token_store import ask_at_once

redis, url, config, processes = sys.argv[1:]
fork = multiprocessing.get_context("fork")  # as a prefork worker; each opens its own connections
start, said = fork.Barrier(int(processes)), fork.SimpleQueue()

def ask():
    start.wait()
    said.put(str(set(asyncio.run(ask_at_once(redis, url, 10, config=json.loads(config))))))

children = [fork.Process(target=ask) for _ in range(int(processes))]
for child in children:
    child.start()
for child in children:
    print(said.get())
"""


def asking_together(processes: int, redis_url: str, url: str, config: dict[str, Any]) -> list[str]:
    """What each of so many processes heard at ten calls, when all began at one moment."""
    command = [sys.executable, "-c", TOGETHER, redis_url, url, orjson.dumps(config).decode(), str(processes)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    return done.stdout.splitlines()


def test_eight_processes_fetch_one_token(sandbox: SandboxServer, redis_url: str) -> None:
    said = asking_together(8, redis_url, sandbox.url, auth_config("oauth2", sandbox.url))
    assert said == [f"{ {Status(200)} }"] * 8
    assert (token_requests(sandbox), api_calls(sandbox)) == (1, 80)


def test_eight_processes_try_a_refused_login_once(sandbox: SandboxServer, redis_url: str) -> None:
    said = asking_together(8, redis_url, sandbox.url, wrong_config(sandbox.url))
    assert said == [f"{ {Status(401, endpoint='token')} }"] * 8
    assert (token_requests(sandbox), api_calls(sandbox)) == (1, 0)


def test_a_refused_login_is_tried_once(sandbox: SandboxServer, cache: str) -> None:
    events = asyncio.run(ask_at_once(cache, sandbox.url, 20, config=wrong_config(sandbox.url)))
    assert set(events) == {Status(401, endpoint="token")}
    assert (token_requests(sandbox), api_calls(sandbox)) == (1, 0)


def test_other_processes_know_of_a_refused_login(sandbox: SandboxServer, redis_url: str) -> None:
    wrong = wrong_config(sandbox.url)
    for _ in range(2):  # each with a memory of its own
        assert set(asyncio.run(ask_at_once(redis_url, sandbox.url, 1, config=wrong))) == {Status(401, endpoint="token")}
    assert token_requests(sandbox) == 1


def test_corrected_credentials_are_used_at_once(sandbox: SandboxServer, redis_url: str) -> None:
    asyncio.run(ask_at_once(redis_url, sandbox.url, 1, config=wrong_config(sandbox.url)))
    assert asyncio.run(ask_at_once(redis_url, sandbox.url, 1)) == [Status(200)]


def test_calls_refused_together_renew_the_token_once(sandbox: SandboxServer, cache: str) -> None:
    events = asyncio.run(ask_at_once(cache, sandbox.url, 10, "TX00000054"))
    assert set(events) == {Status(200)}
    assert (token_requests(sandbox), api_calls(sandbox)) == (2, 20)


def test_a_token_that_is_always_refused_is_renewed_once(sandbox: SandboxServer, cache: str) -> None:
    (event,) = asyncio.run(ask_at_once(cache, sandbox.url, 1, "TX00000154"))
    assert event == Status(401, "UNAUTHORIZED")
    assert (token_requests(sandbox), api_calls(sandbox)) == (2, 2)


# --- The store by itself: what one process sees of another ---


class Source:
    """Somewhere tokens come from; counts, and waits if told to."""

    def __init__(self, *fetched: Fetched) -> None:
        self.calls = 0
        self.started = asyncio.Event()
        self.may_end = asyncio.Event()
        self._fetched = list(fetched)

    async def slowly(self) -> Fetched:
        self.started.set()
        await self.may_end.wait()
        return await self()

    async def __call__(self) -> Fetched:
        self.calls += 1
        return self._fetched.pop(0) if len(self._fetched) > 1 else self._fetched[0]


@asynccontextmanager
async def process(redis_url: str, keyring: Keyring = KEYRING) -> AsyncIterator[TokenStore]:
    """A token store that shares nothing but Redis with the others."""
    redis = Redis.from_url(redis_url, socket_timeout=5)
    store = TokenStore(redis, keyring)
    try:
        yield store
    finally:
        await store.close()
        await redis.aclose()


def in_loop(test: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(30):
            await test()

    asyncio.run(run())


def test_who_loses_the_race_waits_for_the_winners_token(redis_url: str) -> None:
    async def test() -> None:
        async with process(redis_url) as winner, process(redis_url) as loser, Redis.from_url(redis_url) as redis:
            theirs, mine = Source(Token("won", 100)), Source(Token("lost", 100))
            winning = asyncio.create_task(winner.get(KEY, theirs.slowly))
            await theirs.started.wait()
            tried = await sets(redis)
            losing = asyncio.create_task(loser.get(KEY, mine))
            while await sets(redis) < tried + 2:  # noqa: ASYNC110 - only Redis knows that the loser asked for the lock twice
                await asyncio.sleep(0.01)
            theirs.may_end.set()
            assert {token.value for token in await asyncio.gather(winning, losing) if isinstance(token, Token)} == {
                "won"
            }
            assert mine.calls == 0

    async def sets(redis: Redis) -> int:
        stats = await redis.info("commandstats")
        return int(stats["cmdstat_set"]["calls"])

    in_loop(test)


def test_a_lock_left_by_a_dead_process_ends_by_itself(redis_url: str) -> None:
    async def test() -> None:
        async with process(redis_url) as store, Redis.from_url(redis_url) as redis:
            await redis.set(f"{KEY}:lock", "a dead process", px=200)
            assert await store.get(KEY, Source(Token("mine", 100))) == Token("mine", 100)
            assert await redis.get(f"{KEY}:lock") is None

    in_loop(test)


class Mute(Redis):
    """Does what it is told, but its answer to a request for the lock gets lost."""

    async def set(self, *args: Any, **kwargs: Any) -> Any:
        done = await super().set(*args, **kwargs)
        if kwargs.get("nx"):
            raise RedisTimeoutError
        return done


def test_a_lock_that_was_set_without_our_knowing_is_given_back(redis_url: str) -> None:
    """Or the other processes would wait for its end."""

    async def test() -> None:
        async with Mute.from_url(redis_url) as redis:
            assert await TokenStore(redis, KEYRING).get(KEY, Source(Token("mine", 100))) == Token("mine", 100)
            assert await redis.get(f"{KEY}:lock") is None
            assert await redis.get(KEY) is not None

    in_loop(test)


def test_who_is_late_with_a_refusal_takes_the_token_that_is_there(redis_url: str) -> None:
    """Two processes were refused with one token; the first has renewed it already."""

    async def test() -> None:
        async with process(redis_url) as first, process(redis_url) as late:
            old, new = Token("old", 100), Token("new", 100)
            source = Source(old, new)
            assert await first.get(KEY, source) == old
            same = await late.get(KEY, source)
            assert isinstance(same, Token)
            await first.drop(KEY, old)
            assert await first.get(KEY, source) == new
            await late.drop(KEY, same)
            renewed = await late.get(KEY, source)
            assert isinstance(renewed, Token)
            assert (renewed.value, source.calls) == ("new", 2)

    in_loop(test)


def test_redis_holds_no_token_in_clear(redis_url: str) -> None:
    async def test() -> None:
        async with process(redis_url) as store, Redis.from_url(redis_url) as redis:
            await store.get(KEY, Source(Token("sekrit-token", 100)))
            value = await redis.get(KEY)
            assert value is not None
            assert b"sekrit" not in value
            assert 99_000 < await redis.pttl(KEY) <= 100_000

    in_loop(test)


@pytest.mark.parametrize("damage", ["another key ring", "another place", "rubbish"])
def test_a_value_that_does_not_open_is_replaced(redis_url: str, damage: str) -> None:
    async def test() -> None:
        foreign = Keyring({"k9": bytes(32)}, bytes(32)) if damage == "another key ring" else KEYRING
        async with (
            process(redis_url, foreign) as other,
            process(redis_url) as store,
            Redis.from_url(redis_url) as redis,
        ):
            elsewhere = KEY if damage == "another key ring" else f"{KEY}:x"
            await other.get(elsewhere, Source(Token("theirs", 100)))
            value = await redis.get(elsewhere)
            assert value is not None
            await redis.set(KEY, b"\xff rubbish" if damage == "rubbish" else value, px=50_000)
            assert await store.get(KEY, Source(Token("mine", 100))) == Token("mine", 100)
            async with process(redis_url) as reader:
                read = await reader.get(KEY, Source(Trouble.TIMED_OUT))
                assert isinstance(read, Token)
                assert read.value == "mine"

    in_loop(test)


@pytest.mark.parametrize("failure", [Status(500, endpoint="token"), Trouble.TIMED_OUT, Status(429, endpoint="token")])
def test_a_failure_serves_those_who_wait_and_is_not_remembered(redis_url: str, failure: Event) -> None:
    async def test() -> None:
        async with process(redis_url) as store:
            source = Source(failure, Token("then", 100))
            waiting = [asyncio.create_task(store.get(KEY, source.slowly)) for _ in range(10)]
            await source.started.wait()
            source.may_end.set()
            assert set(await asyncio.gather(*waiting)) == {failure}
            assert source.calls == 1
            assert await store.get(KEY, source) == Token("then", 100)

    in_loop(test)


def test_a_caller_that_gives_up_does_not_end_the_flight_of_the_others(redis_url: str) -> None:
    async def test() -> None:
        async with process(redis_url) as store:
            source = Source(Token("t", 100))
            impatient, patient = (asyncio.create_task(store.get(KEY, source.slowly)) for _ in range(2))
            await source.started.wait()
            impatient.cancel()
            source.may_end.set()
            assert await patient == Token("t", 100)
            assert source.calls == 1

    in_loop(test)


def test_a_token_is_used_from_memory_when_redis_is_emptied(redis_url: str) -> None:
    async def test() -> None:
        async with process(redis_url) as store, Redis.from_url(redis_url) as redis:
            source = Source(Token("t", 100))
            await store.get(KEY, source)
            await redis.flushall()
            assert await store.get(KEY, source) == Token("t", 100)
            assert source.calls == 1

    in_loop(test)
