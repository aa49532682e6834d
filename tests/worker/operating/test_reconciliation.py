"""Reconciliation finds every kind of break, by breaking rows on purpose, and finds nothing where nothing is broken."""

import asyncio
import json
from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from tasks.reconciliation.task import account, open_database
from tests.cli.here import run_here
from tests.cli.operator import Worker, read, said
from tests.conftest import DatabaseUrls, environment_of
from tests.tasks.verification.test_sharing import Platform, platform
from tests.tasks.verification.test_store import answered
from tests.worker.kinds import TEST_KIND
from worker.batch import Callback, enqueue_batch
from worker.crypto import Keyring
from worker.enqueue import enqueue
from worker.job import Surroundings
from worker.operating.batch_checks import BATCH_CHECKS
from worker.operating.checks import CHECKS
from worker.operating.reconciliation import Account, reconcile
from worker.outcomes import Done, GiveUp, Outcome, Snooze
from worker.settings import Settings

__all__ = ["platform"]  # a fixture


@pytest.fixture
def busy(platform: Platform) -> Platform:
    """One answered, one that took its answer, one that failed, one that runs, one that waits, all in order."""
    platform.change("UPDATE integration_configuration SET price_per_call = 1")
    platform.change("INSERT INTO call_budget (tenant, hard_limit, set_by) VALUES ('system', 100, 'me')")
    household = platform.driver()
    ((job, question),) = platform.begin(platform.ask(household))
    question.tally.begin()
    platform.end((job, question, answered(question)))
    platform.run(platform.ask(household))
    failed, running, waiting = (platform.ask(platform.driver()) for _ in range(3))
    ((job, question),) = platform.begin(failed)
    question.tally.begin()
    platform.end((job, question, GiveUp("request_refused", "The provider answered 422.")))
    platform.begin(running)
    ((job, question),) = platform.begin(waiting)
    platform.end((job, question, Snooze("limited", timedelta(hours=1))))
    with platform.db.transaction() as connection:
        for _ in range(2):
            steps = [[enqueue(connection, TEST_KIND, {}).job_id] for _ in range(2)]
            enqueue_batch(connection, steps, name="test", callback=Callback(TEST_KIND, {}))
        enqueue_batch(connection, [], name="over", callback=Callback(TEST_KIND, {}))
    return platform


def found(platform: Platform) -> Account:
    with platform.db.transaction() as connection:
        return reconcile(connection)


def test_what_is_in_order_adds_up(busy: Platform) -> None:
    account = found(busy)
    assert account.findings == []
    states = {(jobs.state, jobs.count) for jobs in account.jobs}
    assert states == {("done", 2), ("failed", 1), ("running", 1), ("ready", 1), ("ready", 5)}
    calls = account.calls
    assert (calls.certain, calls.uncertain, calls.under_way, calls.avoided) == (2, 0, 4, 1)


ONE = "(SELECT min(id) FROM integration_request WHERE request_status = 'completed' AND answered_by IS NULL)"
CACHED = "(SELECT min(id) FROM integration_request WHERE answered_by IS NOT NULL)"
FAILED = "(SELECT min(id) FROM integration_request WHERE request_status = 'failed')"
RUNNING = "(SELECT min(id) FROM integration_request WHERE request_status = 'sent')"

BREAKS = {
    "job_without_request": "INSERT INTO job (kind, queue) VALUES ('verification.verify', 'verification')",
    "request_without_job": "DELETE FROM job WHERE id = (SELECT job_id FROM integration_request WHERE id = {ONE})",
    "request_of_another_job": "UPDATE integration_request SET tenant = 'other' WHERE id = {FAILED}",
    "job_over_request_open": "UPDATE integration_request SET request_status = 'pending' WHERE id = {FAILED}",
    "job_done_without_answer": "UPDATE integration_request SET request_status = 'failed' WHERE id = {CACHED}",
    "answered_job_not_done": "UPDATE integration_request SET request_status = 'completed' WHERE id = {FAILED}",
    "failed_request_job_open": "UPDATE integration_request SET request_status = 'timeout' WHERE id = {RUNNING}",
    "sent_without_run": "UPDATE integration_request SET request_status = 'sent' WHERE request_status = 'pending'",
    "lease_long_over": "UPDATE job SET lease_until = now() - interval '6 minutes' WHERE state = 'running'",
    "answer_without_results": "DELETE FROM integration_verification_result WHERE request_id = {CACHED}",
    "results_without_answer": "UPDATE integration_verification_result SET request_id = {RUNNING}",
    "results_doubled": "UPDATE integration_verification_result SET request_id = {ONE}, target_entity_id = 1",
    "answer_without_call": "DELETE FROM provider_call WHERE request_id = {ONE}",
    "call_without_request": "UPDATE provider_call SET request_id = 999999",
    "call_of_another": "UPDATE provider_call SET tenant = 'other'",
    "call_counted_twice": "UPDATE provider_call SET fence = 1, job_id = '00000000-0000-0000-0000-000000000009'",
    "known_answer_missing": "UPDATE integration_request SET answered_by = {FAILED} WHERE id = {CACHED}",
    "criminal_answer_reused": "UPDATE integration_verification_result SET verification_type = 'criminal'",
    "question_held_by_nobody": (
        "UPDATE asked_question SET open_until = now() + interval '1 hour' WHERE asker = {FAILED}"
    ),
    "money_held_by_nobody": "INSERT INTO call_budget_day (tenant, day, reserved) VALUES ('T9', '2026-01-01', 1)",
    "more_jobs_gone_than_removed": "DELETE FROM job WHERE id IN (SELECT job_id FROM integration_request)",
    "batch_over_not_closed": """UPDATE job SET state = 'failed', finished_at = now()
        WHERE batch_id = (SELECT batch_id FROM job WHERE batch_id IS NOT NULL ORDER BY batch_id LIMIT 1)""",
    "batch_closed_too_early": "UPDATE job_batch SET finished_at = now() WHERE finished_at IS NULL",
    "batch_without_callback": "UPDATE job_batch SET callback_job_id = NULL WHERE finished_at IS NOT NULL",
    "callback_missing": "DELETE FROM job WHERE id IN (SELECT callback_job_id FROM job_batch)",
    "step_never_began": "UPDATE job_batch SET step = 2 WHERE finished_at IS NULL",
    "step_began_too_early": "UPDATE job SET run_at = now() WHERE step = 2",
    "job_of_no_batch": "DELETE FROM job_batch WHERE finished_at IS NULL",
    "budget_booked_too_little": """WITH old AS (UPDATE call_budget SET set_at = now() - interval '3 days')
        UPDATE call_budget_day SET spent = 0, reserved = 0""",
}


NOTHING_REMOVED = {
    "jobs_gone_before": "CAST('-infinity' AS timestamptz)",
    "batches_gone_before": "CAST('-infinity' AS timestamptz)",
    "calls_gone_before": "CAST('-infinity' AS timestamptz)",
    "jobs_removed": "0",
    "requests_gone_to": "0",
}


def test_every_check_has_a_break() -> None:
    assert BREAKS.keys() == {check.code for check in (*CHECKS, *BATCH_CHECKS)}


def test_each_break_is_named(busy: Platform, database: DatabaseUrls) -> None:
    unnoticed = []
    for code, statement in BREAKS.items():
        # As the owner, who may do what the application may not; taken back after a look.
        with psycopg.connect(database.owner_url) as owner:
            filled = statement.format(ONE=ONE, CACHED=CACHED, FAILED=FAILED, RUNNING=RUNNING)
            assert owner.execute(filled.encode()).rowcount > 0, code
            sql = next(check.sql for check in (*CHECKS, *BATCH_CHECKS) if check.code == code)
            for name, nothing in NOTHING_REMOVED.items():
                sql = sql.replace(f":{name}", nothing)
            if not owner.execute(sql.encode()).fetchall():
                unnoticed.append(code)
            owner.rollback()
    assert unnoticed == []


def test_a_finding_counts_and_names_rows(busy: Platform) -> None:
    busy.change("UPDATE job SET lease_until = now() - interval '6 minutes' WHERE state = 'running'")
    (finding,) = found(busy).findings
    assert (finding.code, finding.count, len(finding.examples)) == ("lease_long_over", 1, 1)


def remove(platform: Platform, table: str, rows: str, column: str = "id") -> None:
    """As retention does: rows older than a moment, and a record of the batch."""
    platform.change(
        f"""WITH gone AS (DELETE FROM {table} WHERE {column} IN ({rows}) RETURNING id),
            run AS (INSERT INTO retention_runs (actor_id) VALUES ('00000000-0000-0000-0000-000000000001') RETURNING id)
            INSERT INTO retention_run_items (run_id, table_name, policy_version, batch_number, cutoff, deleted_count,
                first_id, last_id)
            SELECT run.id, :table, 1, 1, now() - interval '90 days', count(*), min(gone.id::text), max(gone.id::text)
            FROM gone, run GROUP BY run.id""",  # noqa: S608 - the tests' own words
        table=table,
    )


def test_jobs_that_retention_removed_are_explained_by_its_records(busy: Platform) -> None:
    busy.change("UPDATE integration_request SET created_at = now() - interval '91 days'")
    done = "SELECT job_id FROM integration_request WHERE request_status = 'completed'"
    remove(busy, "job", done)
    assert found(busy).findings == []


def test_age_alone_explains_nothing(busy: Platform) -> None:
    """A job that somebody deleted by hand passed for one that retention had removed, once its request was old."""
    busy.change("UPDATE integration_request SET created_at = now() - interval '91 days'")
    busy.change("DELETE FROM job WHERE state = 'done'")
    assert [(f.code, f.count) for f in found(busy).findings] == [
        ("request_without_job", 2), ("more_jobs_gone_than_removed", 2),
    ]  # fmt: skip


def test_more_jobs_gone_than_retention_removed_are_named(busy: Platform) -> None:
    busy.change("UPDATE integration_request SET created_at = now() - interval '91 days'")
    remove(busy, "job", "SELECT job_id FROM integration_request WHERE answered_by IS NOT NULL")
    busy.change("DELETE FROM job WHERE state = 'done'")
    assert [(f.code, f.count) for f in found(busy).findings] == [("more_jobs_gone_than_removed", 1)]


def test_calls_that_left_before_their_requests_are_explained(busy: Platform) -> None:
    """A request under a legal hold stays longer than its calls."""
    busy.change("UPDATE integration_request SET sent_at = now() - interval '91 days' WHERE sent_at IS NOT NULL")
    remove(busy, "provider_call", f"SELECT id FROM provider_call WHERE request_id = {ONE}")  # noqa: S608 - the tests' own words
    assert found(busy).findings == []
    busy.change(f"UPDATE integration_request SET sent_at = now() WHERE id = {ONE}")  # noqa: S608 - as above
    assert [(f.code, f.count) for f in found(busy).findings] == [("answer_without_call", 1)]


def test_a_job_that_is_started_anew_after_its_batch_was_removed_is_explained(busy: Platform) -> None:
    over = "SELECT id FROM job_batch WHERE finished_at IS NOT NULL"
    busy.change(
        "INSERT INTO job (kind, queue, batch_id, step, created_at)"
        " SELECT 'test', 'test', id, 1, now() - interval '91 days' FROM job_batch WHERE finished_at IS NOT NULL"
    )
    remove(busy, "job_batch", over)
    assert found(busy).findings == []
    busy.change("UPDATE job SET created_at = now() WHERE kind = 'test'")
    assert [(f.code, f.count) for f in found(busy).findings] == [("job_of_no_batch", 1)]


def test_the_scheduled_job_fails_with_what_it_found(busy: Platform, settings: Settings) -> None:
    def run() -> Outcome[None]:
        async def running() -> Outcome[None]:
            async with open_database(Surroundings(settings, Keyring.of(settings))) as database:
                outcome: Outcome[None] = await account.act(None, database)
                return outcome

        return asyncio.run(running())

    assert run() == Done(None)
    busy.change("INSERT INTO job (kind, queue) VALUES ('verification.verify', 'v')")
    assert run() == GiveUp("does_not_add_up", "1 job_without_request")


@pytest.fixture
def worker(settings: Settings, tmp_path: Path) -> Worker:
    environment = environment_of(settings, tmp_path) | {"COLUMNS": "160"}
    return partial(run_here, cwd=tmp_path, environment=environment)


def test_the_command_says_so_and_ends_with_one(busy: Platform, worker: Worker) -> None:
    assert "Everything adds up." in said(worker("reconcile"))
    job_id = str(uuid4())
    busy.change("INSERT INTO job (id, kind, queue) VALUES (:id, 'verification.verify', 'v')", id=job_id)
    answer = worker("reconcile", "--json")
    assert answer.returncode == 1
    (finding,) = json.loads(answer.stdout)["findings"]
    assert (finding["code"], finding["examples"]) == ("job_without_request", [job_id])
    assert job_id in worker("reconcile").stdout


def test_calls_are_shown_with_what_they_cost(busy: Platform, worker: Worker) -> None:
    told = read(worker("calls", "--json"))
    (line,) = told["calls"]
    assert (line["tenant"], line["first"], line["avoided"], line["cost"]) == ("system", 2, 1, "2.0000")
    assert told["under_way"] == {"runs": 1, "calls_at_most": 4}
    assert "2.00" in said(worker("calls", "--tenant", "system"))
    assert read(worker("calls", "--json", "--tenant", "T9"))["calls"] == []


def test_budgets_are_set_removed_and_wake_who_waits_for_money(busy: Platform, worker: Worker) -> None:
    (budget,) = read(worker("budgets", "list", "--json"))
    assert (budget["hard_limit"], budget["spent"], budget["reserved"]) == ("100.00", "2.0000", "4.0000")
    busy.change(
        """UPDATE job SET waiting_for = 'the budget of system for 2026-01-01 is used up',
               run_at = now() + interval '1 day' WHERE state = 'ready' AND kind = 'verification.verify'"""
    )
    assert "1 waiting jobs look again" in said(worker("budgets", "set", "system", "--hard", "200", "--by", "me"))
    assert said(worker("budgets", "remove", "system")).startswith("Removed the budget of system")


@pytest.mark.parametrize(
    "options",
    [
        ["T1"],
        ["T1", "--soft", "2", "--hard", "1"],
        ["T1", "--hard", "NaN"],
        ["T1", "--hard", "many"],
        ["T1", "--soft=-1"],
    ],
)
def test_a_budget_that_is_none_is_refused(worker: Worker, options: list[str]) -> None:
    refused = worker("budgets", "set", "T1", *options)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "Traceback" not in refused.stderr
