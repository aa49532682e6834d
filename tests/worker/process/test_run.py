"""One run of one job: whatever `act` does, the run ends in an outcome, and only a true reason ends the job for good."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.worker.kinds import TEST_KIND
from worker.job import Finished, Job
from worker.outcomes import Cancelled, Done, Expired, GiveUp, Outcome, Retry, Snooze
from worker.process.run import Run

JOB = Job(uuid4(), TEST_KIND.name, {}, 1, 3, 0, 7, None, False, False, None)
DEADLINE_S = 0.05


def a_run(
    act: Callable[..., Awaitable[Any]], *, inputs: Any = "inputs", time_left_s: float | None = None, **kind: Any
) -> Run:
    time_left = None if time_left_s is None else timedelta(seconds=time_left_s)
    return Run(replace(TEST_KIND, act=act, **kind), replace(JOB, time_left=time_left), inputs)


def ended(run: Run, resource: Any = None) -> Finished | None:
    async def scene() -> Finished | None:
        return await asyncio.wait_for(run.to_its_end(resource), timeout=10)

    return asyncio.run(scene())


def outcome_of(act: Callable[..., Awaitable[Any]], **kwargs: Any) -> Outcome[Any]:
    finished = ended(a_run(act, **kwargs))
    assert finished is not None
    return finished.outcome


def is_bug(outcome: Outcome[Any], error: str) -> bool:
    return isinstance(outcome, Retry) and outcome.code == "bug" and outcome.message.startswith(f"{error} at ")


async def hang(_: object) -> Outcome[None]:
    await asyncio.sleep(3600)
    return Done(None)


@pytest.mark.parametrize(
    "outcome",
    [Done(1), Retry("busy", timedelta(1)), Snooze("limit", timedelta(1)), GiveUp("no"), Expired(), Cancelled()],
)
def test_an_outcome_is_passed_on_with_the_inputs_it_was_made_of(outcome: Outcome[Any]) -> None:
    async def act(inputs: str) -> Outcome[Any]:
        assert inputs == "inputs"
        return outcome

    run = a_run(act)
    assert ended(run) == Finished(run.job, "inputs", outcome)


def test_what_load_already_decided_does_not_run() -> None:
    run = a_run(hang, inputs=GiveUp("unknown_driver"))
    assert ended(run) == Finished(run.job, None, GiveUp("unknown_driver"))


def test_a_kind_that_opens_a_resource_gets_it() -> None:
    async def act(inputs: str, resource: str) -> Outcome[Any]:
        return Done((inputs, resource))

    finished = ended(a_run(act, opens=lambda _: None), "resource")
    assert finished is not None
    assert finished.outcome == Done(("inputs", "resource"))


def test_a_run_that_overruns_is_retried() -> None:
    assert outcome_of(hang, deadline_s=DEADLINE_S, backoff=lambda attempt: timedelta(minutes=attempt)) == Retry(
        "overran", timedelta(minutes=1), "It ran longer than the 0.05 s a run may take."
    )


def test_a_run_that_outlasts_the_job_expires() -> None:
    assert outcome_of(hang, time_left_s=DEADLINE_S) == Expired()


@pytest.mark.parametrize("time_left_s", [0, -5])
def test_a_job_whose_time_ran_out_since_its_claim_expires(time_left_s: float) -> None:
    assert outcome_of(hang, time_left_s=time_left_s) == Expired()


def test_the_shorter_deadline_decides() -> None:
    assert isinstance(outcome_of(hang, deadline_s=DEADLINE_S, time_left_s=3600), Retry)


def test_what_act_cleans_up_after_the_deadline_is_waited_for() -> None:
    cleaned = []

    async def act(_: object) -> Outcome[None]:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)
        return Done(None)

    assert isinstance(outcome_of(act, deadline_s=DEADLINE_S), Retry)
    assert cleaned == [True]


def test_an_answer_that_arrives_with_the_deadline_is_kept() -> None:
    async def act(_: object) -> Outcome[str]:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return Done("it was paid for")
        raise AssertionError

    assert outcome_of(act, deadline_s=DEADLINE_S) == Done("it was paid for")


@pytest.mark.parametrize("returned", [None, "done", Done, {"done": True}])
def test_a_run_that_returns_no_outcome_is_a_bug(returned: object) -> None:
    async def act(_: object) -> object:
        return returned

    assert is_bug(outcome_of(act), "TypeError")


def test_a_bug_says_where_it_is_and_not_what_it_saw() -> None:
    async def act(_: object) -> Outcome[None]:
        raise ValueError("a person's name")

    outcome = outcome_of(act, backoff=lambda attempt: timedelta(minutes=attempt))
    assert isinstance(outcome, Retry)
    assert outcome.after == timedelta(minutes=1)
    assert outcome.message.startswith(f"ValueError at {__name__}:")
    assert "person" not in outcome.message


def test_a_timeout_of_acts_own_was_taken_for_the_deadline() -> None:
    async def act(_: object) -> Outcome[None]:
        raise TimeoutError("a socket of its own")

    assert is_bug(outcome_of(act, time_left_s=0.9), "TimeoutError"), "the job still had time: it must not expire"
    assert is_bug(outcome_of(act), "TimeoutError"), "it did not overrun either"


def test_a_cancellation_nobody_asked_for_ended_the_job_for_good() -> None:
    async def act(_: object) -> Outcome[None]:
        inner = asyncio.ensure_future(asyncio.sleep(3600))
        asyncio.get_running_loop().call_soon(inner.cancel)
        await inner
        return Done(None)

    assert is_bug(outcome_of(act), "CancelledError")


def test_an_act_of_another_shape_broke_the_run_instead_of_ending_it() -> None:
    async def act() -> Outcome[None]:
        return Done(None)

    assert is_bug(outcome_of(act), "TypeError")


async def started(run: Run) -> asyncio.Task[Finished | None]:
    task = asyncio.create_task(run.to_its_end(None))
    for _ in range(5):
        await asyncio.sleep(0)
    return task


def play(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, timeout=10))


def test_a_run_that_is_cancelled_ends_cancelled() -> None:
    async def scene() -> None:
        run = a_run(hang)
        task = await started(run)
        run.cancel()
        finished = await task
        assert finished is not None
        assert finished.outcome == Cancelled()

    play(scene())


def test_an_answer_that_arrives_with_the_cancellation_is_kept() -> None:
    async def act(_: object) -> Outcome[str]:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return Done("it was paid for")
        raise AssertionError

    async def scene() -> None:
        run = a_run(act)
        task = await started(run)
        run.cancel()
        assert await task == Finished(run.job, "inputs", Done("it was paid for"))

    play(scene())


def test_a_run_that_is_lost_stops_and_says_nothing() -> None:
    stopped = []

    async def act(_: object) -> Outcome[None]:
        try:
            await asyncio.sleep(3600)
        finally:
            stopped.append(True)
        return Done(None)

    async def scene() -> None:
        run = a_run(act)
        task = await started(run)
        run.lose()
        assert await task is None
        assert stopped == [True]

    play(scene())


def test_a_run_that_is_lost_while_it_swallows_its_end_says_nothing() -> None:
    async def act(_: object) -> Outcome[None]:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise ValueError("broken on the way out") from None
        return Done(None)

    async def scene() -> None:
        run = a_run(act)
        task = await started(run)
        run.lose()
        assert await task is None

    play(scene())


def test_a_run_that_was_lost_before_it_began_acted_all_the_same() -> None:
    acted = []

    async def act(_: object) -> Outcome[None]:
        acted.append(True)
        return Done(None)

    run = a_run(act)
    run.lose()
    assert ended(run) is None
    assert acted == []


def test_a_lost_run_handed_in_what_load_had_decided() -> None:
    run = a_run(hang, inputs=GiveUp("unknown_driver"))
    run.lose()
    assert ended(run) is None
