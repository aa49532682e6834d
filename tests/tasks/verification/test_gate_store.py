"""The gate's scripts on a real Valkey. They read the time from a key, so that a test can turn the clock."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from tasks.verification.bucket import Bucket
from tasks.verification.gate import RULES, Aftermath, Closed, Ending, Pass, Rules, Visit
from tasks.verification.gate_store import Gate
from tests.tasks.verification.factories import UNREACHABLE_REDIS
from worker.dev.embedded import EmbeddedServers

START_MS = 1_800_000_000_000
TEST_CLOCK = "local now = tonumber(redis.call('GET', 'test:clock'))\n"
VISIT = Visit("DCS:sandbox", "dcs.example", "account", None, None, timeout_s=30.0, is_first=True)
RETRY = replace(VISIT, is_first=False)
MILLISECOND = 0.002  # what the scripts round away


@dataclass
class Bench:
    """A gate on a clock of its own."""

    gate: Gate
    redis: Redis
    now_s: float = 0.0

    async def at(self, now_s: float) -> None:
        self.now_s = now_s
        await self.redis.set("test:clock", f"{START_MS + now_s * 1000:.3f}")

    async def enter(self, visit: Visit = VISIT, tenant: str = "system") -> Pass | Closed:
        return await self.gate.enter(visit, 0.0, tenant)

    async def passed(self, visit: Visit = VISIT, tenant: str = "system") -> Pass:
        leave = await self.enter(visit, tenant)
        assert isinstance(leave, Pass), leave
        return leave

    async def leave(
        self,
        leave: Pass,
        ending: Ending,
        visit: Visit = VISIT,
        *,
        wants_retry: bool = False,
        retry_after_s: float | None = None,
        is_about_account: bool = True,
    ) -> Aftermath:
        return await self.gate.leave(
            visit,
            leave,
            ending,
            wants_retry=wants_retry,
            retry_after_s=retry_after_s,
            is_about_account=is_about_account,
        )

    async def call(self, ending: Ending, visit: Visit = VISIT, **more: Any) -> Aftermath:
        return await self.leave(await self.passed(visit), ending, visit, **more)


@asynccontextmanager
async def bench(redis_url: str, rules: Rules = RULES) -> AsyncIterator[Bench]:
    async with Redis.from_url(redis_url) as redis:
        await redis.flushall()
        opened = Bench(Gate(redis, rules, local_share=0.1, clock=TEST_CLOCK), redis)
        await opened.at(0.0)
        yield opened


def on_a_bench(redis_url: str, story: Callable[[Bench], Awaitable[None]]) -> None:
    async def telling() -> None:
        async with bench(redis_url) as opened:
            await story(opened)

    asyncio.run(telling())


async def open_breaker(opened: Bench) -> None:
    for _ in range(RULES.failures - 1):
        assert (await opened.call(Ending.FAILED)).open_for_s is None
    assert (await opened.call(Ending.FAILED)).open_for_s == RULES.rest_s


# The breaker


def test_an_open_breaker_rests_and_lets_one_probe_through(redis_url: str) -> None:
    async def story(opened: Bench) -> None:
        await open_breaker(opened)
        await opened.at(10.0)
        assert await opened.enter() == Closed(20.0, is_breaker=True)
        await opened.at(30.0)
        probe = await opened.passed(RETRY)
        assert probe.is_probe
        assert await opened.enter() == Closed(RULES.probing_s, is_breaker=True)
        await opened.leave(probe, Ending.ANSWERED, RETRY)
        assert not (await opened.passed()).is_probe

    on_a_bench(redis_url, story)


def test_each_failed_probe_doubles_the_rest_up_to_its_longest(redis_url: str) -> None:
    async def story(opened: Bench) -> None:
        await open_breaker(opened)
        now_s, rests = 30.0, []
        for _ in range(6):
            await opened.at(now_s)
            probe = await opened.passed()
            rest_s = (await opened.leave(probe, Ending.FAILED)).open_for_s
            assert rest_s is not None
            rests.append(rest_s)
            now_s += rest_s
        assert rests == [60.0, 120.0, 240.0, 300.0, 300.0, 300.0]
        await opened.at(now_s)
        await opened.call(Ending.ANSWERED)
        await open_breaker(opened)  # and begins anew with the short rest

    on_a_bench(redis_url, story)


def test_a_prober_that_was_killed_blocks_for_its_lease_only(redis_url: str) -> None:
    async def story(opened: Bench) -> None:
        await open_breaker(opened)
        await opened.at(30.0)
        killed = await opened.passed()
        lease_s = VISIT.timeout_s + RULES.lease_margin_s
        await opened.at(30.0 + lease_s - 0.1)
        assert isinstance(await opened.enter(), Closed)
        await opened.at(30.0 + lease_s)
        successor = await opened.passed()
        assert successor.is_probe
        # The dead one comes back: it is no longer asked.
        await opened.leave(killed, Ending.ANSWERED)
        assert isinstance(await opened.enter(), Closed)
        await opened.leave(successor, Ending.ANSWERED)
        assert isinstance(await opened.enter(), Pass)

    on_a_bench(redis_url, story)


def test_a_probe_that_never_left_frees_its_place(redis_url: str) -> None:
    async def story(opened: Bench) -> None:
        await open_breaker(opened)
        await opened.at(30.0)
        await opened.call(Ending.SILENT)
        assert (await opened.passed()).is_probe

    on_a_bench(redis_url, story)


def test_a_tenth_of_failing_calls_opens_nothing(redis_url: str) -> None:
    async def story(opened: Bench) -> None:
        for number in range(300):
            await opened.at(number / 10)
            await opened.call(Ending.FAILED if number % 10 == 0 else Ending.ANSWERED)

    on_a_bench(redis_url, story)


def test_calls_that_are_still_on_their_way_count_as_calls(redis_url: str) -> None:
    async def story(opened: Bench) -> None:
        begun = [await opened.passed() for _ in range(20)]
        for leave in begun[:9]:
            assert (await opened.leave(leave, Ending.FAILED)).open_for_s is None
        assert (await opened.leave(begun[9], Ending.FAILED)).open_for_s is not None

    on_a_bench(redis_url, story)


def test_four_failures_are_no_outage_and_old_ones_are_forgotten(redis_url: str) -> None:
    async def story(opened: Bench) -> None:
        for _ in range(RULES.failures - 1):
            await opened.call(Ending.FAILED)
        await opened.at(RULES.window_s + 6)
        for _ in range(RULES.failures - 1):
            assert (await opened.call(Ending.FAILED)).open_for_s is None

    on_a_bench(redis_url, story)


@pytest.mark.parametrize(
    ("ending", "visit"), [(Ending.THROTTLED, VISIT), (Ending.FAILED, RETRY), (Ending.SILENT, VISIT)]
)
def test_a_busy_provider_and_a_bad_request_are_no_outage(redis_url: str, ending: Ending, visit: Visit) -> None:
    async def story(opened: Bench) -> None:
        for _ in range(50):
            assert (await opened.call(ending, visit, is_about_account=False)).open_for_s is None

    on_a_bench(redis_url, story)


def test_failures_from_before_the_recovery_do_not_open_it_again(redis_url: str) -> None:
    async def story(opened: Bench) -> None:
        late = [await opened.passed() for _ in range(20)]
        for leave in late[:10]:
            await opened.leave(leave, Ending.FAILED)
        await opened.at(30.0)
        await opened.call(Ending.ANSWERED)
        for leave in late[10:]:
            assert (await opened.leave(leave, Ending.FAILED)).open_for_s is None
        assert isinstance(await opened.enter(), Pass)

    on_a_bench(redis_url, story)


def test_hosts_and_environments_have_breakers_of_their_own(redis_url: str) -> None:
    async def story(opened: Bench) -> None:
        await open_breaker(opened)
        assert isinstance(await opened.enter(replace(VISIT, host="other.example")), Pass)
        assert isinstance(await opened.enter(replace(VISIT, provider="DCS:production")), Pass)

    on_a_bench(redis_url, story)


# Limits


@hypothesis_settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rate=st.floats(0.2, 200),
    gaps=st.lists(st.floats(0, 2), min_size=1, max_size=30),
)
def test_the_script_spaces_calls_as_the_bucket_does(redis_url: str, rate: float, gaps: list[float]) -> None:
    async def story(opened: Bench) -> None:
        bucket, visit = Bucket(rate), replace(VISIT, calls_per_second=rate)
        for gap in gaps:
            await opened.at(opened.now_s + round(gap, 3))
            expected, said = bucket.take(opened.now_s, MILLISECOND), await opened.enter(visit)
            if abs(bucket.next_free - 1 / rate - opened.now_s) > MILLISECOND:
                assert isinstance(said, Pass) is (expected is not None)
            bucket.next_free = await next_free_s(opened)

    on_a_bench(redis_url, story)


async def next_free_s(opened: Bench) -> float:
    kept = await opened.redis.hget("verification:{DCS:sandbox}:account:account", "next_free")
    assert kept is not None
    return (float(kept) - START_MS) / 1000


def test_whoever_must_come_back_is_given_a_moment_of_his_own(redis_url: str) -> None:
    async def story(opened: Bench) -> None:
        visit = replace(VISIT, calls_per_second=2.0)
        await opened.passed(visit)
        waits = [said.wait_s for _ in range(4) if isinstance(said := await opened.enter(visit), Closed)]
        assert waits == [1.0, 1.5, 2.0, 2.5]

    on_a_bench(redis_url, story)


def test_no_moment_is_given_beyond_five_minutes(redis_url: str) -> None:
    """A backlog of a day would otherwise be spread over a day, and the next limit come too late for it."""

    async def story(opened: Bench) -> None:
        visit = replace(VISIT, calls_per_second=0.01)
        await opened.passed(visit)
        waits = [said.wait_s for _ in range(5) if isinstance(said := await opened.enter(visit), Closed)]
        assert waits == [200.0, 300.0, 300.0, 300.0, 300.0]

    on_a_bench(redis_url, story)


def test_places_in_flight_come_back_when_a_call_ends_or_its_worker_dies(redis_url: str) -> None:
    async def story(opened: Bench) -> None:
        visit = replace(VISIT, calls_in_flight=2)
        first, _ = await opened.passed(visit), await opened.passed(visit)
        assert isinstance(await opened.enter(visit), Closed)
        await opened.leave(first, Ending.ANSWERED, visit)
        await opened.passed(visit)
        assert isinstance(await opened.enter(visit), Closed)
        await opened.at(VISIT.timeout_s + RULES.lease_margin_s)
        await opened.passed(visit)
        await opened.passed(visit)
        assert isinstance(await opened.enter(visit), Closed)

    on_a_bench(redis_url, story)


def test_a_retry_after_closes_the_tap_for_everybody_of_the_account(redis_url: str) -> None:
    async def story(opened: Bench) -> None:
        await opened.call(Ending.THROTTLED, retry_after_s=7.0)
        closed = await opened.enter()
        assert isinstance(closed, Closed)
        assert not closed.is_breaker
        assert closed.wait_s >= 7.0
        assert isinstance(await opened.enter(replace(VISIT, account="another")), Pass)
        await opened.at(7.1)
        assert isinstance(await opened.enter(), Pass)

    on_a_bench(redis_url, story)


def test_a_refusal_of_one_request_closes_nothing(redis_url: str) -> None:
    async def story(opened: Bench) -> None:
        await opened.call(Ending.THROTTLED, retry_after_s=7.0, is_about_account=False)
        assert isinstance(await opened.enter(), Pass)

    on_a_bench(redis_url, story)


def test_a_flood_of_one_tenant_leaves_the_next_turn_to_anothers_first_call(redis_url: str) -> None:
    async def story(opened: Bench) -> None:
        visit = replace(VISIT, calls_per_second=10.0)
        said = await asyncio.gather(*(opened.gate.enter(visit, 2.0, "many") for _ in range(100)))
        turns = sum(isinstance(leave, Pass) for leave in said)
        assert turns == 1 + 10 * RULES.near_s, "one at once, the others soon"
        assert isinstance(await opened.gate.enter(visit, 2.0, "few"), Pass)
        assert await next_free_s(opened) == pytest.approx((turns + 1) / 10)
        # The others of the flood have nine seconds of moments before them, which are no matter to anybody else.
        later = await opened.enter(visit, "few")
        assert isinstance(later, Closed)
        assert later.wait_s < RULES.near_s + 0.4

    on_a_bench(redis_url, story)


def test_a_place_is_kept_for_who_has_waited_and_had_none(redis_url: str) -> None:
    async def story(opened: Bench) -> None:
        visit = replace(VISIT, calls_in_flight=2)
        held = [await opened.passed(visit, "many") for _ in range(2)]
        await opened.at(1.0)
        assert isinstance(await opened.enter(visit, "few"), Closed)
        assert isinstance(await opened.enter(visit, "many"), Closed)
        await opened.leave(held[0], Ending.ANSWERED, visit)
        assert isinstance(await opened.enter(visit, "many"), Closed), "it is the other's"
        held[0] = await opened.passed(visit, "few")
        assert isinstance(await opened.enter(visit, "few"), Closed)
        await opened.leave(held[1], Ending.ANSWERED, visit)
        await opened.passed(visit, "many")  # both have had one lately: who asks first has the next

    on_a_bench(redis_url, story)


def test_a_place_is_not_kept_for_who_has_gone(redis_url: str) -> None:
    async def story(opened: Bench) -> None:
        visit = replace(VISIT, calls_in_flight=1)
        held = await opened.passed(visit, "many")
        await opened.at(1.0)
        assert isinstance(await opened.enter(visit, "few"), Closed)
        await opened.leave(held, Ending.ANSWERED, visit)
        assert isinstance(await opened.enter(visit, "many"), Closed)
        await opened.at(1.0 + RULES.asks_again_s)
        await opened.passed(visit, "many")

    on_a_bench(redis_url, story)


async def rate_now(opened: Bench, visit: Visit) -> float:
    """What the account may do now, from the distance of two moments it is given."""
    before = await next_free_s(opened)
    await opened.at(max(opened.now_s, before))
    await opened.passed(visit)
    return 1 / (await next_free_s(opened) - opened.now_s)


def test_a_rate_is_halved_once_for_all_calls_of_one_moment_and_grows_back(redis_url: str) -> None:
    async def story(opened: Bench) -> None:
        visit = replace(VISIT, calls_per_second=100.0)
        begun = []
        for number in range(5):
            await opened.at(number / 100)
            begun.append(await opened.passed(visit))
        await opened.at(1.0)
        for leave in begun:
            await opened.leave(leave, Ending.THROTTLED, visit)
        assert await rate_now(opened, visit) == pytest.approx(50, rel=0.01)
        again = await opened.passed(replace(visit, calls_per_second=None, account="idle"))
        await opened.leave(again, Ending.ANSWERED)
        await opened.at(31.0)
        assert await rate_now(opened, visit) == pytest.approx(75, rel=0.01)
        await opened.at(61.0)
        assert await rate_now(opened, visit) == pytest.approx(100, rel=0.01)
        await opened.at(600.0)
        assert await rate_now(opened, visit) == pytest.approx(100, rel=0.01)

    on_a_bench(redis_url, story)


def test_an_account_without_a_limit_learns_one_and_forgets_it(redis_url: str) -> None:
    async def story(opened: Bench) -> None:
        begun = [await opened.passed() for _ in range(40)]
        await opened.at(0.5)
        await opened.leave(begun[0], Ending.THROTTLED)
        await opened.at(1.0)
        await opened.passed()
        assert await rate_now(opened, VISIT) == pytest.approx(20, rel=0.02)
        await opened.at(4 * RULES.doubles_in_s + 1)
        await opened.passed()
        assert isinstance(await opened.enter(), Pass)

    on_a_bench(redis_url, story)


@hypothesis_settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.floats(0.1, 60), st.booleans()), min_size=1, max_size=12))
def test_a_learnt_rate_stays_between_its_floor_and_the_configured(
    redis_url: str, steps: list[tuple[float, bool]]
) -> None:
    async def story(opened: Bench) -> None:
        visit = replace(VISIT, calls_per_second=10.0)
        await opened.passed(visit)
        for gap, is_throttled in steps:
            before = await rate_now(opened, visit)
            await opened.at(max(opened.now_s + gap, await next_free_s(opened)))
            leave = await opened.passed(visit)
            await opened.at(opened.now_s + 0.01)
            await opened.leave(leave, Ending.THROTTLED if is_throttled else Ending.ANSWERED, visit)
            after = await rate_now(opened, visit)
            assert RULES.lowest_rate - 0.01 <= after <= 10.01
            assert is_throttled or after >= before - 0.01

    on_a_bench(redis_url, story)


# The budget of retries


def test_at_half_the_budget_retries_take_turns(redis_url: str) -> None:
    async def story(opened: Bench) -> None:
        for _ in range(4):
            assert (await opened.call(Ending.FAILED, RETRY, wants_retry=True)).held_back_s is None
        turns = [(await opened.call(Ending.FAILED, RETRY, wants_retry=True)).held_back_s for _ in range(3)]
        assert turns == [pytest.approx(turn, abs=0.001) for turn in (0.1, 0.2, 0.3)]
        assert (await opened.call(Ending.FAILED, RETRY, wants_retry=False)).held_back_s is None
        assert isinstance(await opened.enter(), Pass), "first calls always pass"

    on_a_bench(redis_url, story)


def test_ten_successes_pay_for_one_failure(redis_url: str) -> None:
    async def story(opened: Bench) -> None:
        for _ in range(5):
            await opened.call(Ending.FAILED, RETRY)
        for _ in range(10):
            await opened.call(Ending.ANSWERED)
        assert (await opened.call(Ending.FAILED, RETRY, wants_retry=True)).held_back_s is not None  # 5 tokens again
        for _ in range(21):
            await opened.call(Ending.ANSWERED)
        assert (await opened.call(Ending.FAILED, RETRY, wants_retry=True)).held_back_s is None

    on_a_bench(redis_url, story)


def test_throttled_calls_cost_the_budget_too(redis_url: str) -> None:
    async def story(opened: Bench) -> None:
        for _ in range(4):
            await opened.call(Ending.THROTTLED, wants_retry=True, is_about_account=False)
        after = await opened.call(Ending.THROTTLED, wants_retry=True, is_about_account=False)
        assert after.held_back_s is not None

    on_a_bench(redis_url, story)


# Redis itself


def test_scripts_that_redis_has_forgotten_are_loaded_again(redis_url: str) -> None:
    async def story(opened: Bench) -> None:
        await opened.redis.script_flush()
        leave = await opened.passed()
        await opened.redis.script_flush()
        assert (await opened.leave(leave, Ending.ANSWERED)) == Aftermath()
        assert leave.begun_ms > 0

    on_a_bench(redis_url, story)


def test_nothing_in_redis_names_a_login(redis_url: str) -> None:
    async def story(opened: Bench) -> None:
        await opened.call(Ending.FAILED)
        names = sorted(
            key.decode() if isinstance(key, bytes) else key for key in await opened.redis.keys("verification:*")
        )
        scope = "verification:{DCS:sandbox}"
        own = [f"{scope}:account:account", f"{scope}:breaker:dcs.example", f"{scope}:budget"]
        assert names == ["verification:gates", *own]
        assert all(ttl > 0 for ttl in [await opened.redis.pttl(name) for name in names])

    on_a_bench(redis_url, story)


def test_without_redis_an_account_has_a_small_share_and_others_pass() -> None:
    async def story() -> None:
        async with Redis.from_url(UNREACHABLE_REDIS) as redis:
            gate = Gate(redis, RULES, local_share=0.1)
            for _ in range(50):
                assert isinstance(await gate.enter(VISIT, 0.0), Pass)
            limited = replace(VISIT, account="limited", calls_in_flight=30)
            begun = [leave for _ in range(5) if isinstance(leave := await gate.enter(limited, 0.0), Pass)]
            assert len(begun) == 3
            await gate.leave(limited, begun[0], Ending.ANSWERED)
            assert isinstance(await gate.enter(limited, 0.0), Pass)
            slow = replace(VISIT, account="slow", calls_per_second=10.0)
            said = [await gate.enter(slow, 0.0) for _ in range(3)]
            assert [type(leave) for leave in said] == [Pass, Closed, Closed]

    asyncio.run(story())


def test_a_redis_that_dies_and_comes_back_is_followed(tmp_path: Path) -> None:
    visit = replace(VISIT, calls_in_flight=20)

    async def story(servers: EmbeddedServers) -> None:
        async with Redis.from_url(servers.redis_url, socket_timeout=1, socket_connect_timeout=1) as redis:
            gate = Gate(redis, RULES, local_share=0.1)
            shared = [await gate.enter(visit, 0.0) for _ in range(20)]
            assert all(isinstance(leave, Pass) and leave.begun_ms > 0 for leave in shared)
            assert isinstance(await gate.enter(visit, 0.0), Closed)
            servers.kill_redis()
            alone = [await gate.enter(visit, 0.0) for _ in range(4)]
            assert [type(leave) for leave in alone] == [Pass, Pass, Closed, Closed], "never unlimited"
            servers.start_redis()
            async with asyncio.timeout(20):
                while True:
                    leave = await gate.enter(replace(VISIT, account="without limits"), 0.0)
                    assert isinstance(leave, Pass)
                    if leave.begun_ms > 0:
                        break
                    await asyncio.sleep(0.05)

    with EmbeddedServers(tmp_path / "home", durable=False) as servers:
        asyncio.run(story(servers))
