"""The policy of a run at a gate that other runs use too: what it waits for, what it costs, and how it ends."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tasks.verification.gate import RULES, Rules
from tasks.verification.report import Report
from tasks.verification.task import verify
from tests.tasks.verification.factories import make_account, make_question, provider
from tests.waiting import until
from worker.dev.sandbox.personas import PERSONAS
from worker.dev.sandbox.server import SandboxServer
from worker.dev.sandbox.settings import SandboxSettings
from worker.outcomes import Done, GiveUp, Outcome, Retry, Snooze

PERSONA = {persona.scenario: persona for persona in PERSONAS if persona.api == "drivers"}


@pytest.fixture
def busy() -> Iterator[SandboxServer]:
    """A provider whose allowance is three calls a minute, at the beginning of one."""
    with SandboxServer(SandboxSettings(control=True, calls_per_minute=3, now=lambda: 1_800_000_000.0)) as server:
        yield server


def run(
    redis_url: str,
    sandbox: SandboxServer,
    *scenarios: str,
    question: dict[str, Any] | None = None,
    rules: Rules = RULES,
    **account: Any,
) -> list[Outcome[Report]]:
    """Runs about some people, one after the other."""

    async def running() -> list[Outcome[Report]]:
        async with provider(redis_url, rules=rules) as opened:
            asked = make_account(sandbox.url, **account)
            return [
                await verify.act(make_question(PERSONA[name], asked, **(question or {})), opened) for name in scenarios
            ]

    return asyncio.run(running())


def calls(sandbox: SandboxServer) -> int:
    return sum(entry["path"] != "/oauth2/token" for entry in sandbox.journal())


def open_breaker(redis_url: str, sandbox: SandboxServer) -> None:
    """An outage that the runs of five people have met."""
    sandbox.faults(rate_500=1.0)
    run(redis_url, sandbox, *["ok"] * RULES.failures, retry_attempts=0)


def test_a_run_that_meets_an_open_breaker_costs_nothing(redis_url: str, sandbox: SandboxServer) -> None:
    open_breaker(redis_url, sandbox)
    made = calls(sandbox)
    (outcome,) = run(redis_url, sandbox, "ok")
    assert isinstance(outcome, Snooze)
    assert outcome.reason == f"breaker of {sandbox.url.removeprefix('http://')} open"
    assert 20 < outcome.after.total_seconds() < 40
    assert outcome.result is None
    assert calls(sandbox) == made


def test_the_calls_that_open_a_breaker_cost_no_retry(redis_url: str, sandbox: SandboxServer) -> None:
    sandbox.faults(rate_500=1.0)
    outcomes = run(redis_url, sandbox, *["ok"] * 6, retry_attempts=0)
    assert [type(outcome) for outcome in outcomes] == [*[GiveUp] * 4, Snooze, Snooze]
    (last,) = [outcome for outcome in outcomes[4:5] if isinstance(outcome, Snooze)]
    assert last.result is not None
    assert (last.result.retry_count, last.result.status_code) == (0, 500)


def test_failures_from_before_the_breaker_opened_cost_no_retry(redis_url: str, sandbox: SandboxServer) -> None:
    """The first four runs can't know yet. Their retries meet the breaker that the fifth has opened."""
    sandbox.faults(rate_500=1.0)

    async def at_once() -> list[Outcome[Report]]:
        async with provider(redis_url) as opened:
            asked = make_account(sandbox.url)
            runs = [verify.act(make_question(PERSONA["ok"], asked), opened) for _ in range(RULES.failures)]
            return list(await asyncio.gather(*runs))

    snoozes = [outcome for outcome in asyncio.run(at_once()) if isinstance(outcome, Snooze)]
    assert len(snoozes) == RULES.failures
    assert [outcome.result and outcome.result.retry_count for outcome in snoozes] == [0] * RULES.failures


@pytest.mark.parametrize(("calls_made", "given_back"), [(2, 2), (7, 2), (8, 0)])
def test_retries_of_earlier_runs_are_given_back_at_an_open_breaker_but_not_without_an_end(
    redis_url: str, sandbox: SandboxServer, calls_made: int, given_back: int
) -> None:
    open_breaker(redis_url, sandbox)
    (outcome,) = run(redis_url, sandbox, "ok", question={"retry_count": 2, "calls_made": calls_made})
    assert isinstance(outcome, Snooze)
    assert (outcome.given_back, outcome.result) == (given_back, None)


def test_a_probe_that_fails_gets_back_what_it_cost_before_the_breaker_opened(
    redis_url: str, sandbox: SandboxServer
) -> None:
    sandbox.faults(rate_500=1.0)
    rules = Rules(failures=1, rest_s=0.0)
    run(redis_url, sandbox, "ok", retry_attempts=0, rules=rules)
    (outcome,) = run(redis_url, sandbox, "ok", question={"retry_count": 1}, rules=rules)
    assert isinstance(outcome, Snooze)
    assert outcome.reason.startswith("breaker of")
    assert outcome.result is not None
    assert (outcome.given_back, outcome.result.retry_count, outcome.result.status_code) == (1, 0, 500)


@pytest.mark.parametrize(("is_required", "kind"), [(False, GiveUp), (True, Snooze)])
def test_what_is_not_required_ends_when_the_breaker_rests_beyond_its_deadline(
    redis_url: str, sandbox: SandboxServer, is_required: bool, kind: type[Outcome[Report]]
) -> None:
    open_breaker(redis_url, sandbox)
    (outcome,) = run(redis_url, sandbox, "ok", question={"time_left_s": 15.0}, is_required=is_required)
    assert isinstance(outcome, kind)
    if isinstance(outcome, GiveUp):
        assert outcome.code == "circuit_open"
        assert "dcs" not in outcome.message


def test_bad_requests_that_are_repeated_open_no_breaker(redis_url: str, sandbox: SandboxServer) -> None:
    """Four calls each: more than half of all fail, but one request in three is all that is known to be bad."""
    people = ["ok", "500", "ok", "ok", "588", "ok"] * 2
    outcomes = run(redis_url, sandbox, *people, rules=Rules(held_back_per_s=1000.0))
    assert not any(isinstance(outcome, Snooze) and outcome.reason.startswith("breaker") for outcome in outcomes)
    assert sum(isinstance(outcome, Done) for outcome in outcomes) == 8


def test_with_a_low_budget_a_retry_waits_for_its_turn_and_no_attempt_is_spent(
    redis_url: str, sandbox: SandboxServer
) -> None:
    outcomes = run(redis_url, sandbox, *["ok"] * 6, "500", "504", retry_attempts=3)
    last = outcomes[-1]
    assert isinstance(last, Snooze)
    assert last.reason == "too many calls fail: retries take turns"
    assert last.result is not None
    assert last.result.retry_count == 1, "the call that follows is a retry, and counted"


def test_a_run_with_its_retries_spent_fails_however_low_the_budget(redis_url: str, sandbox: SandboxServer) -> None:
    outcomes = run(redis_url, sandbox, *["ok"] * 20, *["500"] * 12, retry_attempts=0)
    assert {type(outcome) for outcome in outcomes[20:]} == {GiveUp}


def test_a_full_account_is_waited_for_a_moment(redis_url: str, sandbox: SandboxServer) -> None:
    outcomes = run(redis_url, sandbox, "ok", "ok", "ok", max_requests_per_second=2.0)
    assert {type(outcome) for outcome in outcomes} == {Done}
    times = [entry["time"] for entry in sandbox.journal() if entry["path"] != "/oauth2/token"]
    assert times[2] - times[0] >= 0.5, "a second, but for what the first was held up on its way"


def test_a_full_account_is_not_waited_for_for_long(redis_url: str, sandbox: SandboxServer) -> None:
    outcomes = run(redis_url, sandbox, "ok", "ok", max_requests_per_second=0.1)
    assert isinstance(outcomes[0], Done)
    assert isinstance(outcomes[1], Snooze)
    assert outcomes[1].reason.startswith("limited until 2")
    assert 9 < outcomes[1].after.total_seconds() <= 20
    assert calls(sandbox) == 1


def test_a_provider_that_asks_for_less_is_left_alone_by_all_of_the_account(redis_url: str, busy: SandboxServer) -> None:
    outcomes = run(redis_url, busy, *["ok"] * 6, timeout_s=3)
    assert {type(outcome) for outcome in outcomes[:3]} == {Done}
    assert isinstance(outcomes[3], Retry)
    assert outcomes[3].after.total_seconds() >= 60
    assert [type(outcome) for outcome in outcomes[4:]] == [Snooze, Snooze]
    assert [entry["status"] for entry in busy.journal() if entry["path"] != "/oauth2/token"] == [200, 200, 200, 429]


def test_a_run_that_is_stopped_gives_its_place_back_and_accuses_nobody(redis_url: str, sandbox: SandboxServer) -> None:
    sandbox.faults(latency="30s")

    async def stopping() -> Outcome[Report]:
        async with provider(redis_url) as opened:
            account = make_account(sandbox.url, max_calls_in_flight=1)
            stopped = asyncio.ensure_future(verify.act(make_question(PERSONA["ok"], account), opened))
            await asyncio.to_thread(until, lambda: calls(sandbox))
            stopped.cancel()
            with pytest.raises(asyncio.CancelledError):
                await stopped
            sandbox.faults()
            return await verify.act(make_question(PERSONA["household"], account), opened)

    assert isinstance(asyncio.run(stopping()), Done)
