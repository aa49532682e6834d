"""What many processes do together at one gate, each with connections and a loop of its own."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
from redis.asyncio import Redis

from tasks.verification.gate import RULES, Ending, Pass, Visit
from tasks.verification.gate_store import Gate

pytestmark = pytest.mark.kills

CHECKOUT = Path(__file__).parents[3]
VISIT = Visit("DCS:sandbox", "dcs.example", "account", None, None, timeout_s=1.0, is_first=False)
QUIET = {"patience_s": 0.0, "longest_pause_s": 0.02, "stay_s": 0.0, "for_s": 2.0, "at_once": 4}


class Step(NamedTuple):
    """A line a visitor printed."""

    word: str
    begun_ms: float
    is_probe: bool


@contextmanager
def visitor(redis_url: str, visit: Visit, **told: Any) -> Iterator[subprocess.Popen[str]]:
    order = json.dumps({**QUIET, "redis_url": redis_url, "visit": asdict(visit), **told})
    command = [sys.executable, "-m", "tests.tasks.verification.gate_visitor", order]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def steps(process: subprocess.Popen[str]) -> list[Step]:
    assert process.stdout is not None
    lines = [line.split() for line in process.stdout.read().splitlines()]
    assert process.wait(30) == 0
    return [Step(word, float(begun_ms), probe == "1") for word, begun_ms, probe in lines]


def all_steps(redis_url: str, visit: Visit, processes: int, **told: Any) -> list[Step]:
    with ExitStack() as stack:
        running = [stack.enter_context(visitor(redis_url, visit, **told)) for _ in range(processes)]
        return [step for process in running for step in steps(process)]


@dataclass
class Counter:
    """A server that counts how many calls it holds at the same time."""

    url: str = ""
    held: int = 0
    most: int = 0
    arrivals: list[float] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.held += 1
        self.most = max(self.most, self.held)
        self.arrivals.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0.02)
        self.held -= 1
        writer.close()


@asynccontextmanager
async def counting() -> AsyncIterator[Counter]:
    counter = Counter()
    server = await asyncio.start_server(counter.serve, "127.0.0.1", 0)
    counter.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield counter
    finally:
        server.close()


def test_four_processes_stay_within_rate_and_places_together(redis_url: str) -> None:
    rate, places = 40, 3
    visit = replace(VISIT, calls_per_second=float(rate), calls_in_flight=places)

    async def story() -> Counter:
        async with counting() as counter:
            await asyncio.to_thread(
                all_steps, redis_url, visit, 4, url=counter.url, patience_s=0.3, at_once=8, for_s=4.0
            )
            return counter

    counter = asyncio.run(story())
    assert counter.most <= places
    arrivals = sorted(counter.arrivals)
    assert len(arrivals) > rate, "they were hardly let in, so the test has seen nothing"
    # A call may be late and the next one in time, so a window of the server's may hold a few that belong beside it.
    for first, begin in enumerate(arrivals):
        within = sum(begin <= moment < begin + 1 for moment in arrivals[first:])
        assert within <= rate + 4


def test_moments_given_by_redis_are_apart_as_the_rate_demands(redis_url: str) -> None:
    rate = 50.0
    visit = replace(VISIT, calls_per_second=rate)
    begun = sorted(step.begun_ms for step in all_steps(redis_url, visit, 4) if step.word == "in")
    assert len(begun) > 20
    assert all(later - earlier >= 1000 / rate - 0.01 for earlier, later in pairwise(begun))


async def open_breaker(redis_url: str) -> None:
    """Have the breaker of VISIT's host rest, and then let the rest be over at once."""
    first = replace(VISIT, is_first=True)
    async with Redis.from_url(redis_url) as client:
        gate = Gate(client, RULES, local_share=0.1)
        for _ in range(RULES.failures):
            leave = await gate.enter(first, 0.0)
            assert isinstance(leave, Pass)
            await gate.leave(first, leave, Ending.FAILED)
        await client.hset("verification:{DCS:sandbox}:breaker:dcs.example", "open_until", "1")


def test_of_eight_processes_exactly_one_probes(redis_url: str) -> None:
    asyncio.run(open_breaker(redis_url))
    # Longer than all of them visit: whoever probes keeps the others out until the end.
    visit = replace(VISIT, timeout_s=60.0)
    passes = all_steps(redis_url, visit, 8, stay_s=8.0)
    assert [step.is_probe for step in passes if step.word == "in"] == [True]


def test_a_prober_that_is_killed_is_followed_by_another(redis_url: str) -> None:
    asyncio.run(open_breaker(redis_url))
    with visitor(redis_url, VISIT, at_once=1, stay_s=60.0) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline().startswith("in ")
        killed.kill()
    with redis.Redis.from_url(redis_url) as client:
        seconds, microseconds = client.time()
        killed_ms = seconds * 1000 + microseconds / 1000
    lease_ms = (VISIT.timeout_s + RULES.lease_margin_s) * 1000
    passes = [step for step in all_steps(redis_url, VISIT, 2, for_s=lease_ms / 1000 + 2) if step.word == "in"]
    assert [step.is_probe for step in passes].count(True) == 1
    first = min(passes, key=lambda step: step.begun_ms)
    assert first.is_probe
    assert first.begun_ms > killed_ms


def test_places_of_a_killed_process_come_back(redis_url: str) -> None:
    visit = replace(VISIT, calls_in_flight=2)
    with visitor(redis_url, visit, at_once=2, stay_s=60.0) as killed:
        assert killed.stdout is not None
        taken = [killed.stdout.readline().split() for _ in range(2)]
        killed.kill()
    lease_ms = (VISIT.timeout_s + RULES.lease_margin_s) * 1000
    passes = [step for step in all_steps(redis_url, visit, 1, for_s=lease_ms / 1000 + 2) if step.word == "in"]
    assert passes
    assert min(step.begun_ms for step in passes) >= float(taken[0][1]) + lease_ms
