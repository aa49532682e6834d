"""Each outcome of a run as the finish of its row."""

from datetime import timedelta
from typing import Any, get_args
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.vocabularies import JobState
from worker.job import Job
from worker.outcomes import Cancelled, Done, Expired, GiveUp, Outcome, Retry, Snooze
from worker.verdict import Verdict, judge, last_word

SOON = timedelta(seconds=7)
RETRY = Retry("busy", SOON, "it is busy", "kept")
SNOOZE = Snooze("limit", SOON, "kept")
GIVE_UP = GiveUp("no", "never", "kept")


def a_job(attempt: int = 0, max_attempts: int = 3) -> Job:
    return Job(uuid4(), "test.run", {}, attempt, max_attempts, 0, 1, None, False, False, None)


@pytest.mark.parametrize("attempt", [0, 1, 2])
@pytest.mark.parametrize(
    ("outcome", "state", "spent", "wait", "event", "code", "message", "waiting_for"),
    [
        (Done("result"), "done", 0, None, None, None, None, None),
        (RETRY, "ready", 1, SOON, "retried", "busy", "it is busy", "retry after busy"),
        (SNOOZE, "ready", 0, SOON, "snoozed", "limit", None, "limit"),
        (GIVE_UP, "failed", 1, None, "failed", "no", "never", None),
        (Expired(), "expired", 0, None, "expired", "deadline_passed", "Its deadline passed before it ran.", None),
        (Cancelled(), "cancelled", 0, None, "cancelled", "cancelled", "Somebody asked for it to stop.", None),
    ],
    ids=["done", "retry", "snooze", "give up", "expired", "cancelled"],
)
def test_each_outcome_has_its_verdict(
    attempt: int,
    outcome: Outcome[Any],
    state: JobState,
    spent: int,
    wait: timedelta | None,
    event: Any,
    code: str | None,
    message: str | None,
    waiting_for: str | None,
) -> None:
    expected = Verdict(state, attempt + spent, wait, event, code, message, waiting_for)
    assert judge(a_job(attempt), outcome) == expected


@pytest.mark.parametrize(
    ("attempt", "max_attempts", "is_last"),
    [(0, 3, False), (1, 3, False), (2, 3, True), (3, 3, True), (0, 1, True), (0, 2, False)],
)
def test_a_retry_that_spends_the_last_attempt_is_the_end(attempt: int, max_attempts: int, is_last: bool) -> None:
    expected = GiveUp("busy", "it is busy", "kept") if is_last else RETRY
    assert last_word(a_job(attempt, max_attempts), RETRY) == expected


@pytest.mark.parametrize("outcome", [Done(1), SNOOZE, GIVE_UP, Expired(), Cancelled()])
def test_nothing_else_is_changed_by_the_last_attempt(outcome: Outcome[Any]) -> None:
    assert last_word(a_job(2), outcome) is outcome


@pytest.mark.parametrize(("attempt", "left"), [(0, 0), (1, 0), (2, 0), (5, 3)])
def test_attempts_are_given_back_and_none_that_was_not_spent(attempt: int, left: int) -> None:
    assert judge(a_job(attempt, 9), Snooze("outage", SOON, given_back=2)).attempt == left


OUTCOMES: st.SearchStrategy[Outcome[Any]] = st.sampled_from(
    [Done(1), RETRY, SNOOZE, Snooze("outage", SOON, given_back=2), GIVE_UP, Expired(), Cancelled()]
)


@given(outcome=OUTCOMES, attempt=st.integers(0, 10), more=st.integers(1, 10))
def test_a_job_never_waits_with_all_attempts_spent(outcome: Outcome[Any], attempt: int, more: int) -> None:
    job = a_job(attempt, attempt + more)
    verdict = judge(job, last_word(job, outcome))
    assert (verdict.state == "ready") is (verdict.wait is not None)
    assert verdict.state in set(get_args(JobState)) - {"running"}
    assert verdict.attempt <= job.max_attempts
    if verdict.state == "ready":
        assert verdict.attempt < job.max_attempts
        assert verdict.waiting_for
