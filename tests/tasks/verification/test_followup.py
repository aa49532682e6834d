"""A quote is rated again when a verification has changed what it is rated by, and only then."""

from typing import Any

import pytest
from sqlalchemy import text

from tasks.verification.drivers.question import DriverQuestion
from tests.tasks.verification.test_sharing import Platform, platform
from tests.tasks.verification.test_store import answered

__all__ = ["platform"]  # a fixture


@pytest.fixture
def quote(platform: Platform) -> str:
    return _new_quote(platform)


def run(platform: Platform, *drivers: int, **said: Any) -> None:
    """Answers about the drivers, saved together."""
    with platform.db.transaction() as connection:
        ask = text(
            "SELECT job_id FROM enqueue_verification('DCS_HOUSEHOLD_DRIVERS', :id, p_force => true, p_tenant => 'T1')"
        )
        ids = [connection.execute(ask, {"id": driver}).scalar_one() for driver in drivers]
    runs = platform.begin_ids(ids)
    assert all(isinstance(question, DriverQuestion) for _, question in runs)
    platform.end(*[(job, question, answered(question, **said)) for job, question in runs])


def recalculations(platform: Platform) -> list[tuple[str, str, str]]:
    statement = "SELECT args ->> 'quote_id', args ->> 'reason', tenant FROM job WHERE kind = 'rating.recalculate'"
    with platform.db.transaction() as connection:
        return [(row[0], row[1], row[2]) for row in connection.execute(text(statement))]


def test_two_drivers_of_a_quote_who_change_ask_for_it_once(platform: Platform, quote: str) -> None:
    drivers = [platform.driver().driver_id for _ in range(2)]
    platform.change("UPDATE driver SET quote_id = :quote", quote=quote)
    run(platform, *drivers)
    assert recalculations(platform) == [(quote, "verification", "T1")]


def test_an_answer_that_changes_nothing_asks_for_nothing(platform: Platform, quote: str) -> None:
    driver = platform.driver().driver_id
    platform.change("UPDATE driver SET quote_id = :quote", quote=quote)
    run(platform, driver)
    platform.change("DELETE FROM job WHERE kind = 'rating.recalculate'")
    run(platform, driver, confidence_score=50)
    assert recalculations(platform) == []


def test_a_quote_that_lacks_a_premium_is_asked_for_although_nothing_changed(platform: Platform, quote: str) -> None:
    """Its required verification failed, a person had it asked again, and the answer is what the platform said."""
    driver = platform.driver().driver_id
    platform.change("UPDATE driver SET quote_id = :quote", quote=quote)
    run(platform, driver)
    platform.change("DELETE FROM job WHERE kind = 'rating.recalculate'")
    platform.change("UPDATE quotes SET rating_problem = 'the required verification of request 1 ended as failed'")
    run(platform, driver)
    assert recalculations(platform) == [(quote, "verification", "T1")]


def test_a_driver_without_a_quote_asks_for_nothing(platform: Platform, quote: str) -> None:
    run(platform, platform.driver().driver_id)
    assert recalculations(platform) == []


def test_recalculations_asked_for_in_one_transaction_continue_the_traces_of_their_own_verifications(
    platform: Platform,
) -> None:
    traces = {}
    for digit in "ab":
        driver, quote = platform.driver().driver_id, _new_quote(platform)
        platform.change("UPDATE driver SET quote_id = :quote WHERE id = :id", quote=quote, id=driver)
        traces[driver] = (quote, f"00-{digit * 32}-{digit * 16}-01")
    waiting, older = _new_quote(platform), "00-" + "c" * 32 + "-" + "c" * 16 + "-01"
    untraced = platform.driver().driver_id
    platform.change("UPDATE driver SET quote_id = :quote WHERE id = :id", quote=waiting, id=untraced)
    platform.change("SELECT enqueue_quote_recalculation(CAST(:quote AS uuid))", quote=waiting)
    platform.change("UPDATE job SET trace_context = :older", older=older)
    with platform.db.transaction() as connection:
        ids = [
            connection.execute(
                text("SELECT job_id FROM enqueue_verification('DCS_HOUSEHOLD_DRIVERS', :id)"), {"id": driver}
            ).scalar_one()
            for driver in [*traces, untraced]
        ]
    for job_id, (_, trace) in zip(ids, traces.values(), strict=False):
        platform.change("UPDATE job SET trace_context = :trace WHERE id = :id", trace=trace, id=job_id)
    platform.end(*[(job, question, answered(question)) for job, question in platform.begin_ids(ids)])
    statement = "SELECT args ->> 'quote_id', trace_context FROM job WHERE kind = 'rating.recalculate'"
    with platform.db.transaction() as connection:
        found: dict[str, str] = dict(connection.execute(text(statement)).all())
    assert found == {**dict(traces.values()), waiting: older}


def _new_quote(platform: Platform) -> str:
    insert = text("INSERT INTO quotes (product_type, state) VALUES ('auto', 'TX') RETURNING id")
    with platform.db.transaction() as connection:
        return str(connection.execute(insert).scalar_one())
