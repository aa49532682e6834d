"""The provider is down for half an hour, told on a clock of the test's own: the gate's scripts are the real ones, in a
real Redis; jobs, provider and time are played. `tests/chaos/test_outage.py` has the same with real workers, and a rest
of one second in place of thirty.
"""

import heapq
from collections import Counter
from dataclasses import replace

from tasks.verification.gate import RULES, Closed, Ending, Pass
from tasks.verification.progress import is_forgiven
from tests.tasks.verification.test_gate_store import VISIT as EVERYBODY
from tests.tasks.verification.test_gate_store import Bench, on_a_bench

DOWN_S = 1800.0
CALL_S = 0.5
JOBS = 60
RETRIES = 3
VISIT = replace(EVERYBODY, calls_in_flight=5)
TAKES_PER_S = 1
"""Of what the provider takes after the outage; beyond it answers 429."""


def test_half_an_hour_of_outage_burns_no_attempts_and_the_backlog_drains_at_the_learnt_rate(redis_url: str) -> None:
    on_a_bench(redis_url, _outage)


async def _outage(bench: Bench) -> None:
    attempts: Counter[int] = Counter()  # the retries that each job has spent
    made: Counter[int] = Counter()
    calls: list[tuple[float, Ending]] = []
    done: list[float] = []
    todo: list[tuple[float, int, Pass | None]] = [(0.0, job, None) for job in range(JOBS)]
    while todo:
        now, job, leave = heapq.heappop(todo)
        await bench.at(now)
        if leave is None:
            entered = await bench.enter(replace(VISIT, is_first=attempts[job] == 0))
            if isinstance(entered, Closed) and entered.is_breaker and is_forgiven(made[job], RETRIES):
                attempts[job] = 0
            again = now + entered.wait_s if isinstance(entered, Closed) else now + CALL_S
            heapq.heappush(todo, (again, job, entered if isinstance(entered, Pass) else None))
            continue
        ending = _ending(now, calls)
        calls.append((now, ending))
        made[job] += 1
        aftermath = await bench.leave(leave, ending, VISIT, retry_after_s=1.0 if ending is Ending.THROTTLED else None)
        if ending is Ending.ANSWERED:
            done.append(now)
            continue
        if ending is Ending.FAILED and aftermath.open_for_s is None:
            attempts[job] += 1
            assert attempts[job] <= RETRIES, "it would have failed"
        heapq.heappush(todo, (now + (aftermath.open_for_s or 1.0), job, None))

    during = [moment for moment, _ in calls if moment < DOWN_S]
    burst = [moment for moment in during if moment < RULES.rest_s]
    assert sum(attempts.values()) == 0, "what failed before the breaker opened is given back"
    assert len(during) - len(burst) <= DOWN_S / RULES.longest_rest_s + 5, "one probe a rest, and the rests grow"
    assert len(done) == JOBS
    assert done[0] - DOWN_S <= RULES.longest_rest_s + CALL_S, "the next probe finds it well"
    throttled = sum(ending is Ending.THROTTLED for _, ending in calls)
    drain_s = done[-1] - done[0]
    assert 0 < throttled <= JOBS / 4, "the rate is learnt from a few refusals"
    assert drain_s <= 2 * JOBS / TAKES_PER_S, "and what the provider takes is made use of"


def _ending(now: float, calls: list[tuple[float, Ending]]) -> Ending:
    if now < DOWN_S:
        return Ending.FAILED
    taken = sum(moment > now - 1 and ending is Ending.ANSWERED for moment, ending in calls)
    return Ending.ANSWERED if taken < TAKES_PER_S else Ending.THROTTLED
