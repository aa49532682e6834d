"""Every call that was sent is in the ledger, whoever dies; budgets hold, and say so."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import structlog
from sqlalchemy import text

from tasks.verification.drivers.question import DriverQuestion
from tests.tasks.verification.test_sharing import LEASE, Platform, platform
from tests.tasks.verification.test_store import answered, report
from worker import ledger
from worker.operating import control
from worker.outcomes import Cancelled, GiveUp, Retry, Snooze

__all__ = ["platform"]  # a fixture


@pytest.fixture
def written(platform: Platform) -> Callable[[], list[tuple[str, int, bool]]]:
    """The ledger: reason, calls, and whether they are certain."""

    def written() -> list[tuple[str, int, bool]]:
        with platform.db.transaction() as connection:
            rows = connection.execute(text("SELECT reason, calls, is_certain FROM provider_call ORDER BY id"))
            return [tuple(row) for row in rows]

    return written


def die(platform: Platform) -> None:
    """The workers of all that runs are gone."""
    platform.change("UPDATE job SET lease_until = now() - interval '1 second' WHERE state = 'running'")
    with platform.db.transaction() as connection:
        ledger.rescue(connection, limit=100)
    platform.change("UPDATE job SET run_at = now()")


def test_calls_are_written_down_with_whose_and_what_they_cost(
    platform: Platform, written: Callable[[], list[Any]]
) -> None:
    platform.change("UPDATE integration_configuration SET price_per_call = 0.75")
    asked = platform.ask(platform.driver(), tenant="T1")
    ((job, question),) = platform.begin(asked)
    question.tally.begin()
    question.tally.end(1)
    platform.end((job, question, Retry("provider_error", timedelta(0), "", report(question, retry_count=1))))
    ((job, question),) = platform.begin(asked)
    question.tally.begin()
    question.tally.end(2)
    platform.end((job, question, answered(question)))
    assert written() == [("first", 1, True), ("retry", 2, True)]
    with platform.db.transaction() as connection:
        row = connection.execute(text("SELECT * FROM provider_call ORDER BY id LIMIT 1")).mappings().one()
    assert (row["tenant"], row["request_id"], row["job_id"]) == ("T1", asked.request_id, asked.job_id)
    assert (row["environment"], row["configuration_id"]) == ("sandbox", platform.configuration_id)
    assert (row["price"], row["fence"]) == (Decimal("0.75"), 1)


def test_looks_for_a_promised_answer_are_counted_and_cost_nothing(
    platform: Platform, written: Callable[[], list[Any]]
) -> None:
    budget(platform, hard=1)
    asked = platform.ask(platform.driver())
    platform.begin(asked)
    die(platform)
    platform.change("UPDATE integration_request SET poll_url = 'https://dcs.example/v2.7/household-drivers/1'")
    ((job, question),) = platform.begin(asked)
    question.tally.begin()
    platform.end((job, question, answered(question)))
    assert written() == [("poll", 1, False), ("poll", 1, True)]
    again = platform.ask(platform.driver())
    platform.change(
        """UPDATE integration_request SET poll_url = 'https://dcs.example/v2.7/household-drivers/2',
               pending_since = now() WHERE request_status = 'pending'"""
    )
    ((job, question),) = platform.begin(again)
    question.tally.begin()
    platform.end((job, question, answered(question)))
    assert written()[2:] == [("poll", 1, True)]
    with platform.db.transaction() as connection:
        assert connection.execute(text("SELECT price FROM provider_call ORDER BY id DESC LIMIT 1")).scalar_one() == 0


def test_a_run_that_sent_nothing_leaves_nothing(platform: Platform, written: Callable[[], list[Any]]) -> None:
    ((job, question),) = platform.begin(platform.ask(platform.driver()))
    platform.end((job, question, Snooze("limited", timedelta(0))))
    assert written() == []


def test_a_cancelled_run_still_tells_what_it_sent(platform: Platform, written: Callable[[], list[Any]]) -> None:
    ((job, question),) = platform.begin(platform.ask(platform.driver()))
    question.tally.begin()
    platform.end((job, question, Cancelled()))
    assert written() == [("first", 1, True)]


def test_what_a_dead_worker_may_have_sent_is_counted_once_and_as_uncertain(
    platform: Platform, written: Callable[[], list[Any]]
) -> None:
    asked = platform.ask(platform.driver())
    platform.begin(asked)
    die(platform)
    assert written() == []
    assert platform.request(asked)["request_status"] == "sent", "until then the request itself says so"
    ((job, question),) = platform.begin(asked)
    question.tally.begin()
    question.tally.end(1)
    platform.end((job, question, answered(question)))
    assert written() == [("first", 4, False), ("after_crash", 1, True)]


def test_so_it_is_when_nobody_runs_the_job_again(platform: Platform, written: Callable[[], list[Any]]) -> None:
    asked = platform.ask(platform.driver())
    platform.begin(asked)
    die(platform)
    with platform.db.transaction() as connection:
        (job,) = ledger.claim(connection, [asked.job_id], owner="w", lease=LEASE)
    platform.end((job, None, GiveUp("worker_died", "3 workers died.")))
    assert written() == [("first", 4, False)]


def test_a_job_that_dies_and_waits_for_money_is_counted_once(
    platform: Platform, written: Callable[[], list[Any]]
) -> None:
    platform.change("UPDATE integration_configuration SET price_per_call = 1")
    asked = platform.ask(platform.driver())
    platform.begin(asked)
    die(platform)
    platform.change("INSERT INTO call_budget (tenant, hard_limit, set_by) VALUES ('system', 0, 'me')")
    ((job, snooze),) = platform.begin(asked)
    assert isinstance(snooze, Snooze)
    platform.end((job, None, snooze))
    assert written() == [("first", 4, False)]


def test_a_buried_job_that_is_replayed_counts_what_its_dead_run_may_have_sent_and_says_what_it_costs(
    platform: Platform, written: Callable[[], list[Any]]
) -> None:
    platform.change("UPDATE integration_configuration SET price_per_call = 0.5")
    platform.begin(platform.ask(platform.driver()))
    platform.change("UPDATE job SET crashes = 4")
    die(platform)
    failed = control.Failed(error_code="worker_died")
    with platform.db.transaction() as connection:
        told = control.replay(connection, failed, "me", dry_run=True)
    assert (told.jobs, told.calls_at_most, told.cost_at_most) == (1, 4, Decimal(2))
    assert written() == []
    with platform.db.transaction() as connection:
        assert control.replay(connection, failed, "me", dry_run=False) == told
    assert written() == [("first", 4, False)]


def test_an_outage_gives_retries_back_and_the_ledger_keeps_the_calls(
    platform: Platform, written: Callable[[], list[Any]]
) -> None:
    asked = platform.ask(platform.driver())
    ((job, question),) = platform.begin(asked)
    for _ in range(2):
        question.tally.begin()
        question.tally.end(1)
    platform.end((job, question, Retry("provider_error", timedelta(0), "", report(question, retry_count=2))))
    ((job, question),) = platform.begin(asked)
    assert (job.attempt, question.retry_count, question.calls_made) == (1, 2, 2)
    platform.end((job, question, Snooze("breaker open", timedelta(0), given_back=2)))
    assert platform.request(asked)["retry_count"] == 0
    ((job, question),) = platform.begin(asked)
    assert (job.attempt, question.retry_count, question.calls_made) == (0, 0, 2)
    assert question.tally.next_reason == "retry"
    assert written() == [("first", 1, True), ("retry", 1, True)]


def test_what_a_job_has_called_before_it_was_repeated_by_hand_is_not_held_against_it(platform: Platform) -> None:
    asked = platform.ask(platform.driver())
    ((job, question),) = platform.begin(asked)
    question.tally.begin()
    platform.end((job, question, GiveUp("provider_error", "", report(question))))
    with platform.db.transaction() as connection:
        control.retry(connection, asked.job_id, "me")
    ((job, question),) = platform.begin(asked)
    assert question.calls_made == 0


def test_calls_can_not_be_changed_afterwards(platform: Platform) -> None:
    with pytest.raises(Exception, match="permission denied"):
        platform.change("UPDATE provider_call SET calls = 1")


def budget(platform: Platform, *, hard: int | None = None, soft: int | None = None) -> None:
    platform.change("UPDATE integration_configuration SET price_per_call = 1, retry_attempts = 1")
    platform.change(
        "INSERT INTO call_budget (tenant, soft_limit, hard_limit, set_by) VALUES ('system', :soft, :hard, 'me')",
        soft=soft,
        hard=hard,
    )


def money(platform: Platform) -> tuple[int, int]:
    with platform.db.transaction() as connection:
        row = connection.execute(text("SELECT spent, reserved FROM call_budget_day")).one()
    return int(row.spent), int(row.reserved)


def test_what_is_set_aside_comes_back_and_what_is_spent_stays(platform: Platform) -> None:
    budget(platform, hard=10)
    ((job, question),) = platform.begin(platform.ask(platform.driver()))
    assert money(platform) == (0, 2)
    question.tally.begin()
    question.tally.end(1)
    platform.end((job, question, answered(question)))
    assert money(platform) == (1, 0)


def test_beyond_a_hard_budget_jobs_wait_for_the_next_day_and_say_why(platform: Platform) -> None:
    budget(platform, hard=1)
    asked = [platform.ask(platform.driver()) for _ in range(2)]
    ((job, question),) = platform.begin(asked[0])
    assert question.tally.at_most == 1, "no money for the retry"
    ((other, waits),) = platform.begin(asked[1])
    assert waits == Snooze(
        "the budget of system: what is left of it is set aside for calls under way", timedelta(seconds=15)
    )
    question.tally.begin()
    question.tally.end(1)
    platform.end((other, None, waits), (job, question, answered(question)))
    platform.change("UPDATE job SET run_at = now() WHERE state = 'ready'")
    ((job, waits),) = platform.begin(asked[1])
    today = datetime.now(UTC).date()
    assert waits.reason == f"the budget of system for {today} is used up"
    tomorrow = datetime.combine(today + timedelta(days=1), datetime.min.time(), UTC)
    assert abs(datetime.now(UTC) + waits.after - tomorrow) < timedelta(minutes=1)
    platform.end((job, None, waits))
    assert platform.request(asked[1])["request_status"] == "pending"


def test_a_known_answer_costs_nothing(platform: Platform) -> None:
    budget(platform, hard=1)
    household = platform.driver()
    first = platform.ask(household)
    ((job, question),) = platform.begin(first)
    question.tally.begin()
    platform.end((job, question, answered(question)))
    assert platform.run(platform.ask(household)).known.request_id == first.request_id
    assert money(platform) == (1, 0)


def test_at_the_soft_limit_somebody_is_told_once(platform: Platform) -> None:
    budget(platform, soft=1)
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            ((job, question),) = platform.begin(platform.ask(platform.driver()))
            question.tally.begin()
            question.tally.end(1)
            platform.end((job, question, answered(question)))
    crossed = [log for log in logs if log["event"] == "budget.soft_limit_crossed"]
    assert [(log["tenant"], log["spent"]) for log in crossed] == [("system", "1.0000")]


def test_what_died_with_a_worker_is_spent(platform: Platform) -> None:
    budget(platform, hard=10)
    asked = platform.ask(platform.driver())
    platform.begin(asked)
    die(platform)
    platform.begin(asked)
    assert money(platform) == (2, 2)


def test_a_hard_budget_holds_whoever_calls_at_the_same_time(platform: Platform) -> None:
    budget(platform, hard=7)
    asked = [platform.ask(platform.driver()) for _ in range(16)]

    def run(one: Any) -> int:
        ((job, inputs),) = platform.begin(one)
        if not isinstance(inputs, DriverQuestion):
            platform.end((job, None, inputs))
            return 0
        for _ in range(one.request_id % (inputs.tally.at_most + 1)):
            inputs.tally.begin()
        platform.end((job, inputs, answered(inputs)))
        return inputs.tally.sent.total()

    with ThreadPoolExecutor(4) as pool:
        sent = sum(pool.map(run, asked))
    assert sent <= 7
    assert money(platform) == (sent, 0)
