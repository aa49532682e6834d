"""What /metrics says of providers is what the gate does to calls: the gate writes, the API reads."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tasks.verification.gate import RULES, Ending, Pass, Visit
from tasks.verification.gate_store import Gate
from tests.api.served import Api
from tests.api.test_metrics import series
from worker.api.provider_gauges import provider_gauges
from worker.metrics import LABEL_VALUES_MAX, OTHER
from worker.operating import providers
from worker.operating.providers import Part

VISIT = Visit("DCS:sandbox", "dcs.example", "account", None, 4, timeout_s=30.0, is_first=True)
OTHER_HOST = replace(VISIT, host="other.example")
ANSWERED, FAILED, THROTTLED = Ending.ANSWERED, Ending.FAILED, Ending.THROTTLED


def gauges(redis_url: str) -> dict[str, float]:
    with Redis.from_url(redis_url, decode_responses=True) as client:
        return samples(*providers.read(client))


def samples(parts: list[Part], now_ms: float) -> dict[str, float]:
    return {
        " ".join((sample.name.removeprefix("worker_provider_"), *sample.labels.values())): sample.value
        for family in provider_gauges(parts, now_ms)
        for sample in family.samples
    }


def at_the_gate(redis_url: str, story: Callable[[Gate], Awaitable[None]]) -> None:
    async def telling() -> None:
        async with AsyncRedis.from_url(redis_url) as client:
            await story(Gate(client, RULES, local_share=0.1))

    asyncio.run(telling())


async def passed(gate: Gate, visit: Visit = VISIT) -> Pass:
    leave = await gate.enter(visit, 1.0)
    assert isinstance(leave, Pass)
    return leave


async def call(gate: Gate, ending: Ending, visit: Visit = VISIT, remaining: int | None = None) -> None:
    await gate.leave(visit, await passed(gate, visit), ending, is_about_account=True, remaining=remaining)


def test_nothing_is_told_of_a_provider_that_nobody_has_called(redis_url: str) -> None:
    assert gauges(redis_url) == {}


def test_a_breaker_is_closed_open_and_half_open_by_host(redis_url: str) -> None:
    async def fail(gate: Gate) -> None:
        for _ in range(RULES.failures):
            await call(gate, FAILED)
        await call(gate, ANSWERED, OTHER_HOST)

    at_the_gate(redis_url, fail)
    open_, closed = "breaker_state DCS sandbox dcs.example", "breaker_state DCS sandbox other.example"
    assert gauges(redis_url) == {open_: 2, closed: 0, "calls_in_flight DCS sandbox": 0}
    with Redis.from_url(redis_url) as client:
        client.hset("verification:{DCS:sandbox}:breaker:dcs.example", "open_until", "1")
    assert gauges(redis_url)[open_] == 1


def test_a_redis_that_was_emptied_tells_of_gates_again_within_a_minute(redis_url: str) -> None:
    async def story(gate: Gate) -> None:
        await call(gate, ANSWERED)
        with Redis.from_url(redis_url) as client:
            client.flushall()
        await call(gate, ANSWERED)
        assert gauges(redis_url) == {}
        gate._told.clear()  # the minute is over
        await call(gate, ANSWERED)
        assert gauges(redis_url)["breaker_state DCS sandbox dcs.example"] == 0

    at_the_gate(redis_url, story)


def test_calls_in_flight_are_those_that_have_not_ended(redis_url: str) -> None:
    async def story(gate: Gate) -> None:
        first, _ = await passed(gate), await passed(gate)
        assert gauges(redis_url)["calls_in_flight DCS sandbox"] == 2
        await gate.leave(VISIT, first, ANSWERED)
        assert gauges(redis_url)["calls_in_flight DCS sandbox"] == 1

    at_the_gate(redis_url, story)


def test_calls_of_an_account_without_a_limit_are_not_counted_and_not_told(redis_url: str) -> None:
    at_the_gate(redis_url, lambda gate: call(gate, ANSWERED, replace(VISIT, calls_in_flight=None)))
    assert gauges(redis_url) == {"breaker_state DCS sandbox dcs.example": 0}


def test_a_place_whose_worker_was_killed_is_no_call_in_flight(redis_url: str) -> None:
    with Redis.from_url(redis_url) as client:
        client.zadd("verification:{DCS:sandbox}:flights:account", {"of a dead worker": 1})
        client.sadd(providers.KNOWN, "verification:{DCS:sandbox}:flights:account")
    assert gauges(redis_url) == {"calls_in_flight DCS sandbox": 0}


def test_the_rate_is_what_refusals_have_taught(redis_url: str) -> None:
    limited = replace(VISIT, calls_per_second=10.0)

    async def story(gate: Gate) -> None:
        await call(gate, ANSWERED, limited)
        assert "rate_per_second DCS sandbox" not in gauges(redis_url)
        await call(gate, THROTTLED, limited)

    at_the_gate(redis_url, story)
    assert 5 <= gauges(redis_url)["rate_per_second DCS sandbox"] < 10


def test_what_remains_is_the_providers_last_word_and_of_several_accounts_the_least(redis_url: str) -> None:
    async def story(gate: Gate) -> None:
        await call(gate, ANSWERED, remaining=17)
        await call(gate, ANSWERED, remaining=16)
        await call(gate, ANSWERED, remaining=None)
        await call(gate, ANSWERED, replace(VISIT, account="another"), remaining=500)

    at_the_gate(redis_url, story)
    assert gauges(redis_url)["remaining DCS sandbox"] == 16


def test_no_number_of_hosts_fills_the_memory_of_prometheus() -> None:
    parts = [
        Part("DCS", "sandbox", "breaker", f"{n:04}.example", {"open_until": "2" if n == 999 else "0"})
        for n in range(1000)
    ]
    found = samples(parts, 1.0)
    assert len(found) == LABEL_VALUES_MAX + 1
    assert found[f"breaker_state DCS sandbox {OTHER}"] == 2


def test_the_api_tells_of_providers_at_metrics(api: Api, redis_url: str) -> None:
    at_the_gate(redis_url, lambda gate: call(gate, ANSWERED, remaining=3))
    found = series(api)
    assert found['worker_provider_breaker_state{environment="sandbox",host="dcs.example",integration="DCS"}'] == 0
    assert found['worker_provider_remaining{environment="sandbox",integration="DCS"}'] == 3
