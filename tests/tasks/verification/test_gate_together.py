"""Visits that come at one moment share a run of the gate's script: each is treated as if it had come alone."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tasks.verification.gate import Aftermath, Closed, Ending, Pass, Visit
from tests.tasks.verification.test_gate_store import MILLISECOND, VISIT, Bench, on_a_bench, open_breaker

PATIENCES = st.tuples(st.sampled_from([0.0, 0.02]), st.sampled_from(["many", "many", "few"]))
"""Of the visits of some tenants."""

ENDINGS = st.sampled_from([*Ending, Ending.ANSWERED, Ending.FAILED, Ending.FAILED])


@dataclass(frozen=True)
class Step:
    """After a while some of those inside leave, and others come."""

    gap_s: float
    endings: list[tuple[Ending, bool]]
    patiences: list[tuple[float, str]]


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from([0.001, 0.5, 6.0, 31.0]),
        st.lists(st.tuples(ENDINGS, st.booleans()), max_size=8),
        st.lists(PATIENCES, max_size=8),
    ),
    min_size=1,
    max_size=6,
)


@dataclass
class Side:
    """The same story at a provider of its own, told one by one or all at once."""

    bench: Bench
    visit: Visit
    is_together: bool
    inside: list[Pass] = field(default_factory=list)

    async def all(self, doings: Sequence[Awaitable[Any]]) -> list[Any]:
        return await asyncio.gather(*doings) if self.is_together else [await doing for doing in doings]

    async def leave(self, endings: list[tuple[Ending, bool]]) -> list[Aftermath]:
        leaving, self.inside = self.inside[: len(endings)], self.inside[len(endings) :]
        return await self.all(
            [
                self.bench.leave(leave, ending, self.visit, wants_retry=wants_retry, retry_after_s=1.0)
                for leave, (ending, wants_retry) in zip(leaving, endings, strict=False)
            ]
        )

    async def enter(self, patiences: list[tuple[float, str]]) -> list[Pass | Closed]:
        said = await self.all([self.bench.gate.enter(self.visit, *patience) for patience in patiences])
        self.inside += [leave for leave in said if isinstance(leave, Pass)]
        return said

    async def kept(self) -> dict[str, dict[str, float]]:
        """Everything that Redis holds of this provider, but for the names of passes."""
        found: dict[str, dict[str, float]] = {}
        keys: list[Any] = await self.bench.redis.keys(f"verification:{{{self.visit.provider}}}*")
        for key in keys:
            name = key.decode().partition("}")[2]
            if name.startswith((":flights", ":waiting")):
                taken: list[Any] = await self.bench.redis.zrange(key, 0, -1, withscores=True)
                found[name] = {str(place): until for place, (_, until) in enumerate(taken)}
            else:
                fields: dict[Any, Any] = await self.bench.redis.hgetall(key)
                found[name] = {at.decode(): float(value) for at, value in fields.items() if at != b"probe"}
        return found


def without_names(said: list[Pass | Closed]) -> tuple[list[tuple[type, bool]], list[float]]:
    """What was said: the words, and the times."""
    words = [(type(answer), answer.is_probe if isinstance(answer, Pass) else answer.is_breaker) for answer in said]
    return words, [answer.begun_ms if isinstance(answer, Pass) else answer.wait_s for answer in said]


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=STEPS,
    rate=st.sampled_from([None, 1 / 0.015]),
    places=st.sampled_from([None, 3]),
    is_first=st.booleans(),
)
def test_together_is_as_one_by_one(
    redis_url: str, steps: list[Step], rate: float | None, places: int | None, *, is_first: bool
) -> None:
    async def story(opened: Bench) -> None:
        visit = replace(VISIT, calls_per_second=rate, calls_in_flight=places, is_first=is_first)
        one = Side(opened, replace(visit, provider="DCS:one"), is_together=False)
        many = Side(opened, replace(visit, provider="DCS:many"), is_together=True)
        for step in steps:
            await opened.at(opened.now_s + step.gap_s)
            assert await many.leave(step.endings) == await one.leave(step.endings)
            words, times = without_names(await many.enter(step.patiences))
            expected_words, expected_times = without_names(await one.enter(step.patiences))
            assert words == expected_words
            assert times == pytest.approx(expected_times, abs=MILLISECOND)
            kept, expected = await many.kept(), await one.kept()
            assert kept.keys() == expected.keys()
            for key, fields in kept.items():
                assert fields == pytest.approx(expected[key], abs=0.1)  # of a millisecond: what each run rounds away

    on_a_bench(redis_url, story)


def test_of_visits_that_come_together_one_probes(redis_url: str) -> None:
    async def story(opened: Bench) -> None:
        await open_breaker(opened)
        await opened.at(30.0)
        said = await asyncio.gather(*(opened.enter() for _ in range(8)))
        assert [answer.is_probe for answer in said if isinstance(answer, Pass)] == [True]
        assert all(answer.is_breaker for answer in said if isinstance(answer, Closed))

    on_a_bench(redis_url, story)


def test_visits_that_come_together_take_one_run_of_a_script(redis_url: str) -> None:
    async def story(opened: Bench) -> None:
        await opened.redis.config_resetstat()
        passes = await asyncio.gather(*(opened.passed() for _ in range(50)))
        await asyncio.gather(*(opened.leave(leave, Ending.ANSWERED) for leave in passes))
        assert (await opened.redis.info("commandstats"))["cmdstat_evalsha"]["calls"] <= 2 * 2  # and once unknown

    on_a_bench(redis_url, story)
