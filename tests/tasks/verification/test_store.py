"""What is read and written, on a real database."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import IntegrityError

from tasks.verification.drivers.findings import findings
from tasks.verification.drivers.question import DriverQuestion, request_body
from tasks.verification.question import next_key
from tasks.verification.question_store import load
from tasks.verification.report import Report
from tasks.verification.store import save
from tests.tasks.verification.factories import (
    Household,
    answer_about,
    enqueue,
    insert_configuration,
    insert_driver,
    make_job,
    parsed,
    row,
)
from tests.waiting import in_thread, until
from worker.crypto import Keyring, Place
from worker.database import Database
from worker.dev.sandbox.personas import BY_LICENSE
from worker.job import Finished, Job
from worker.outcomes import Cancelled, Done, Expired, GiveUp, Outcome, Retry, Snooze
from worker.settings import Settings

URL = "https://dcs.example"
VERA = BY_LICENSE["TX00000001"]


@dataclass
class Platform:
    """A database with one configuration, and shorthand for asking about drivers."""

    db: Database
    keyring: Keyring
    configuration_id: int

    def driver(self) -> Household:
        with self.db.transaction() as connection:
            return insert_driver(connection, self.keyring, VERA)

    def ask(self, household: Household | None = None, *, force: bool = False) -> Job:
        household = household or self.driver()
        with self.db.transaction() as connection:
            return make_job(enqueue(connection, household.driver_id, force=force))

    def load(self, *jobs: Job) -> list[Any]:
        with self.db.transaction() as connection:
            inputs = load(connection, jobs)
        return [inputs[job.id] for job in jobs]

    def save(self, *finished: Finished) -> None:
        with self.db.transaction() as connection:
            save(connection, finished)

    def change(self, statement: str, **values: Any) -> None:
        with self.db.transaction() as connection:
            connection.execute(text(statement), values)

    def row(self, table: str, id_: int) -> dict[str, Any]:
        with self.db.transaction() as connection:
            return row(connection, table, id_)

    def request(self, job: Job) -> dict[str, Any]:
        return self.row("integration_request", job.args["request_id"])

    def results(self, job: Job) -> dict[str, dict[str, Any]]:
        with self.db.transaction() as connection:
            rows = connection.execute(
                text("SELECT * FROM integration_verification_result WHERE request_id = :request_id"), job.args
            ).mappings()
            return {found["verification_type"]: dict(found) for found in rows}


@pytest.fixture
def platform(db: Database, settings: Settings) -> Platform:
    keyring = Keyring.parse(settings.encryption_keys.get_secret_value(), settings.blind_index_key.get_secret_value())
    with db.transaction() as connection:
        return Platform(db, keyring, insert_configuration(connection, keyring, URL))


def report(question: DriverQuestion, said: dict[str, Any] | None = None, **changes: Any) -> Report:
    """What a run leaves; with an answer if `said`."""
    found = findings(question, "TX00000001", parsed(said), is_cleaned=False) if said else None
    made = Report(
        request_headers={"Idempotency-Key": question.idempotency_key, "X-Correlation-Id": question.correlation_id},
        request_body=orjson.dumps(request_body(question, "TX00000001")).decode(),
        retry_count=0,
        status_code=200 if said else 500,
        response_headers={"date": "Thu, 15 Jan 2026 10:30:05 GMT"},
        response_body=orjson.dumps(said).decode() if said else None,
        response_time_ms=12,
        transaction_id="dcs_0123",
        is_timeout=False,
        findings=found,
    )
    return replace(made, **changes)


def answered(question: DriverQuestion, **changes: Any) -> Done[Report]:
    return Done(report(question, answer_about(question, **changes)))


def test_a_question_holds_what_was_stored_and_its_request_is_sent(platform: Platform) -> None:
    household = platform.driver()
    job = platform.ask(household)
    (question,) = platform.load(replace(job, time_left=timedelta(seconds=90)))
    assert isinstance(question, DriverQuestion)
    assert (question.driver_id, question.license_id, question.address_id) == (
        household.driver_id,
        household.license_id,
        household.address_id,
    )
    number = platform.keyring.decrypt(
        question.sealed_license_number, Place("license", "license_number", str(household.license_id))
    )
    assert number == "TX00000001"
    assert question.subject.last_name == VERA.last_name
    assert question.account.url == f"{URL}/v2.7/household-drivers"
    assert (question.account.timeout_s, question.account.retry_attempts) == (5, 3)
    assert question.time_left_s == 90
    request = platform.request(job)
    assert request["request_status"] == "sent"
    assert request["request_headers"] == {
        "Idempotency-Key": question.idempotency_key,
        "X-Correlation-Id": question.correlation_id,
    }


def test_a_question_knows_the_limits_of_its_account(platform: Platform) -> None:
    (question,) = platform.load(platform.ask())
    account = question.account
    assert (account.max_requests_per_second, account.max_calls_in_flight) == (None, None)
    assert (account.environment, account.is_required) == ("sandbox", False)
    platform.change(
        """UPDATE integration_configuration
           SET max_requests_per_second = 2.5, max_calls_in_flight = 7, is_required = true WHERE id = :id""",
        id=platform.configuration_id,
    )
    (question,) = platform.load(platform.ask())
    account = question.account
    assert (account.max_requests_per_second, account.max_calls_in_flight, account.is_required) == (2.5, 7, True)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("max_requests_per_second", "0"),
        ("max_requests_per_second", "-1"),
        ("max_requests_per_second", "NaN"),
        ("max_requests_per_second", "Infinity"),
        ("max_calls_in_flight", "0"),
    ],
)
def test_a_limit_that_is_none_is_refused(platform: Platform, column: str, value: str) -> None:
    with pytest.raises(IntegrityError, match=f"ck_integration_configuration_{column}"):
        platform.change(f"UPDATE integration_configuration SET {column} = '{value}'")  # noqa: S608 - names of ours


def test_a_run_put_off_keeps_its_retries_and_its_key(platform: Platform) -> None:
    job = platform.ask()
    (question,) = platform.load(job)
    platform.save(Finished(job, question, Snooze("breaker of dcs.example open", timedelta(seconds=30))))
    request = platform.request(job)
    assert (request["request_status"], request["error_message"]) == ("pending", "breaker of dcs.example open")
    (again,) = platform.load(job)
    assert (again.retry_count, again.idempotency_key) == (0, question.idempotency_key)


def test_a_run_after_a_crash_finds_the_key_of_the_one_before(platform: Platform) -> None:
    job = platform.ask()
    (first,), (second,) = platform.load(job), platform.load(job)
    assert first.idempotency_key == second.idempotency_key


def test_a_run_after_an_answer_has_the_next_key_and_keeps_it_over_a_crash(platform: Platform) -> None:
    job = platform.ask()
    (first,) = platform.load(job)
    failed = report(first, status_code=500, retry_count=1)
    platform.save(Finished(job, first, Retry("provider_error", timedelta(seconds=9), "It failed.", failed)))
    (second,), (third,) = platform.load(job), platform.load(job)
    assert second.idempotency_key == third.idempotency_key == next_key(first.idempotency_key)
    assert second.retry_count == 1
    assert second.body_sent == request_body(first, "TX00000001")


def test_a_run_after_silence_has_the_same_key(platform: Platform) -> None:
    job = platform.ask()
    (first,) = platform.load(job)
    silent = report(first, status_code=None, response_headers=None, is_timeout=True)
    platform.save(Finished(job, first, Retry("provider_timeout", timedelta(seconds=9), "Nothing.", silent)))
    (second,) = platform.load(job)
    assert second.idempotency_key == first.idempotency_key


BREAK = {
    "integration_disabled": "UPDATE integration_configuration SET is_enabled = false WHERE id = :configuration",
    "unknown_license": "UPDATE driver SET license_id = NULL WHERE id = :driver",
    "incomplete_driver": "UPDATE driver SET date_of_birth = NULL WHERE id = :driver",
    "incomplete_license": "UPDATE license SET license_number = NULL WHERE driver_id = :driver",
}


@pytest.mark.parametrize("code", BREAK)
def test_what_has_gone_since_ends_the_request_with_a_code(platform: Platform, code: str) -> None:
    household = platform.driver()
    job = platform.ask(household)
    platform.change(BREAK[code], configuration=platform.configuration_id, driver=household.driver_id)
    (outcome,) = platform.load(job)
    assert isinstance(outcome, GiveUp)
    assert outcome.code == code
    assert platform.request(job)["request_status"] == "pending"
    platform.save(Finished(job, None, outcome))
    request = platform.request(job)
    assert request["request_status"] == "failed"
    assert request["error_message"].startswith(f"{code}: ")
    assert platform.results(job) == {}


def test_one_bad_job_does_not_disturb_the_others(platform: Platform) -> None:
    jobs = [platform.ask(), make_job(999_999), platform.ask()]
    first, missing, last = platform.load(*jobs)
    assert isinstance(first, DriverQuestion)
    assert isinstance(missing, GiveUp)
    assert missing.code == "unknown_request"
    assert isinstance(last, DriverQuestion)


def test_a_completed_request_is_not_asked_again(platform: Platform) -> None:
    job = platform.ask()
    (question,) = platform.load(job)
    platform.save(Finished(job, question, answered(question)))
    before = platform.request(job)
    (outcome,) = platform.load(job)
    assert outcome == Done(None)
    platform.save(Finished(job, None, outcome))
    assert platform.request(job) == before
    assert len(platform.results(job)) == 4


def test_an_answer_is_written_everywhere(platform: Platform) -> None:
    household = platform.driver()
    job = platform.ask(household)
    (question,) = platform.load(job)
    platform.save(Finished(job, question, answered(question, confidence_score=91)))

    request = platform.request(job)
    assert (request["request_status"], request["error_message"], request["retry_count"]) == ("completed", None, 0)
    assert (request["response_status_code"], request["response_time_ms"]) == (200, 12)
    assert request["external_transaction_id"] == "dcs_0123"
    assert request["response_body"]["verification_status"] == "verified"
    assert request["request_body"]["search"]["driver"]["license_number"] == "TX00000001"

    results = platform.results(job)
    assert results.keys() == {"household", "license", "identity", "address"}
    for kind, found in results.items():
        target = ("address", household.address_id) if kind == "address" else ("driver", household.driver_id)
        assert (found["target_entity_type"], found["target_entity_id"]) == target
        assert (found["verification_status"], found["confidence_score"]) == ("verified", Decimal(91))
        assert found["cache_expires_at"] - found["created_at"] == timedelta(hours=24)
        assert found["external_verification_id"] == "dcs_0123"
        assert found["verified_data"]

    now = request["updated_at"]
    driver = platform.row("driver", household.driver_id)
    assert driver["external_verification_status"] == "verified"
    assert driver["verification_source"] == "DCS_HOUSEHOLD_DRIVERS"
    assert (driver["verification_confidence"], driver["external_driver_id"]) == (Decimal(91), "dcs_driver_001")
    assert driver["last_verification_date"] == now
    licence = platform.row("license", household.license_id)
    assert (licence["external_verification_status"], licence["external_license_status"]) == ("verified", "valid")
    assert licence["last_verification_date"] == now
    address = platform.row("address", household.address_id)
    assert (address["delivery_point_validation"], address["standardization_confidence"]) == ("valid", Decimal(91))
    assert address["standardized_by_source"] == "DCS_HOUSEHOLD_DRIVERS"
    assert address["last_standardization_date"] == now


def test_an_error_leaves_error_rows_and_nothing_else(platform: Platform) -> None:
    household = platform.driver()
    tables = {"driver": household.driver_id, "license": household.license_id, "address": household.address_id}
    job = platform.ask(household)
    before = {table: platform.row(table, id_) for table, id_ in tables.items()}
    (question,) = platform.load(job)
    platform.save(Finished(job, question, GiveUp("provider_error", "It answered 500.", report(question))))
    request = platform.request(job)
    assert (request["request_status"], request["error_message"]) == ("failed", "provider_error: It answered 500.")
    assert request["response_status_code"] == 500
    results = platform.results(job)
    assert results.keys() == {"household", "license", "identity", "address"}
    assert {found["verification_status"] for found in results.values()} == {"error"}
    assert {found["cache_expires_at"] for found in results.values()} == {None}
    assert {table: platform.row(table, id_) for table, id_ in tables.items()} == before


ENDS: dict[str, tuple[Callable[[DriverQuestion], Outcome[Any]], str, str | None, int]] = {
    "timeout": (
        lambda q: GiveUp("provider_timeout", "Silence.", report(q, status_code=None, is_timeout=True)),
        "timeout",
        "provider_timeout: Silence.",
        4,
    ),
    "given up by the engine": (lambda _: GiveUp("worker_died", "Twice."), "failed", "worker_died: Twice.", 4),
    "retry": (lambda q: Retry("x", timedelta(0), "Later.", report(q)), "pending", "x: Later.", 0),
    "a bug": (lambda _: Retry("bug", timedelta(0), "ValueError"), "pending", "bug: ValueError", 0),
    "snooze": (lambda _: Snooze("shutdown", timedelta(0)), "pending", "shutdown", 0),
    "expired": (
        lambda _: Expired(),
        "failed",
        "deadline_passed: The job's deadline came before an answer.",
        0,
    ),
    "cancelled": (lambda _: Cancelled(), "failed", "cancelled: Somebody asked for the job to stop.", 0),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("has_inputs", [True, False])
def test_every_end_of_a_run_shows_on_its_request(platform: Platform, end: str, has_inputs: bool) -> None:
    make, status, message, errors = ENDS[end]
    job = platform.ask()
    (question,) = platform.load(job)
    platform.save(Finished(job, question if has_inputs else None, make(question)))
    request = platform.request(job)
    assert (request["request_status"], request["error_message"]) == (status, message)
    assert request["request_headers"]["Idempotency-Key"] == question.idempotency_key
    assert len(platform.results(job)) == (errors if has_inputs else 0)


def test_without_a_life_no_answer_is_cached(platform: Platform) -> None:
    platform.change("UPDATE integration_configuration SET cache_ttl_hours = 0")
    job = platform.ask()
    (question,) = platform.load(job)
    platform.save(Finished(job, question, answered(question)))
    assert {found["cache_expires_at"] for found in platform.results(job).values()} == {None}


def test_another_persons_answer_does_not_replace_the_drivers_external_id(platform: Platform) -> None:
    household = platform.driver()
    job, again = platform.ask(household, force=True), platform.ask(household, force=True)
    question, asked_again = platform.load(job, again)
    platform.save(Finished(job, question, answered(question)))
    other = answer_about(asked_again)
    other["driver_data"] |= {"driver_id": "dcs_other", "client_ref": "driver:999999"}
    platform.save(Finished(again, asked_again, Done(report(asked_again, other))))
    driver = platform.row("driver", household.driver_id)
    assert (driver["external_verification_status"], driver["external_driver_id"]) == ("failed", "dcs_driver_001")


def test_of_two_answers_about_one_driver_the_later_counts(platform: Platform) -> None:
    household = platform.driver()
    jobs = [platform.ask(household, force=True) for _ in range(2)]
    first, second = platform.load(*jobs)
    platform.save(
        Finished(jobs[0], first, answered(first, confidence_score=10)),
        Finished(jobs[1], second, answered(second, confidence_score=20)),
    )
    assert platform.row("driver", household.driver_id)["verification_confidence"] == Decimal(20)


@contextmanager
def statements(db: Database) -> Iterator[list[str]]:
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_others: Any) -> None:
        sent.append(statement)

    event.listen(db.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(db.engine, "before_cursor_execute", note)


def test_a_hundred_jobs_take_a_handful_of_statements(platform: Platform) -> None:
    platform.load(platform.ask())  # the first of a process also reads the mappings
    jobs = [platform.ask() for _ in range(100)]
    with statements(platform.db) as sent:
        questions = platform.load(*jobs)
    assert len(sent) == 3  # what is needed, who asks, sent
    for question in questions:
        question.tally.begin()
    outcomes: list[Outcome[Any]] = [answered(question) for question in questions]
    outcomes[0], outcomes[1] = Expired(), GiveUp("provider_error", "", report(questions[1]))
    with statements(platform.db) as sent:
        platform.save(*map(Finished, jobs, questions, outcomes))
    assert len(sent) == 2  # what they leave, and who waits for an answer


def test_what_a_run_changed_is_in_the_audit_trail_by_its_ids(platform: Platform) -> None:
    jobs = [platform.ask() for _ in range(4)]
    questions = platform.load(*jobs)
    outcomes: list[Outcome[Any]] = [
        answered(questions[0]),
        GiveUp("provider_error", "a sentence", report(questions[1])),
        Retry("provider_error", timedelta(0), "", report(questions[2])),
        Cancelled(),
    ]
    platform.save(*map(Finished, jobs, questions, outcomes))
    with platform.db.transaction() as connection:
        rows = connection.execute(
            text(
                "SELECT action, resource_id, correlation_id, details FROM audit_logs"
                " WHERE resource_type = 'integration_request' ORDER BY action"
            )
        ).all()
    done, failed = questions[:2]
    told = {"job": str(jobs[0].id), "integration": done.account.integration_code}
    about = {"driver": [done.driver_id], "address": [done.address_id]}
    assert [tuple(row) for row in rows] == [
        ("verification.completed", str(done.request_id), done.correlation_id, told | about),
        (
            "verification.failed", str(failed.request_id), failed.correlation_id,
            told | {"job": str(jobs[1].id), "code": "provider_error"}
            | {"driver": [failed.driver_id], "address": [failed.address_id]},
        ),
    ]  # fmt: skip


def test_rows_of_others_are_locked_in_the_order_of_their_ids(platform: Platform) -> None:
    """Or two saves that meet the same two drivers in another order would wait for each other for ever."""
    low, high = platform.driver(), platform.driver()
    jobs = [platform.ask(high), platform.ask(low)]
    questions = platform.load(*jobs)
    finished = [Finished(job, question, answered(question)) for job, question in zip(jobs, questions, strict=True)]
    lock = text("SELECT FROM driver WHERE id = :id FOR UPDATE NOWAIT")
    with platform.db.transaction() as holder:
        holder.execute(lock, {"id": low.driver_id})
        saved = in_thread(lambda: platform.save(*finished))
        until(lambda: _somebody_waits(platform.db))
        with platform.db.transaction() as other:
            other.execute(lock, {"id": high.driver_id})  # free: the save waits at the lower one
    saved()
    assert platform.row("driver", high.driver_id)["external_verification_status"] == "verified"


@pytest.mark.parametrize("held", ["driver", "license"])
def test_rows_of_others_are_locked_table_by_table_although_one_statement_changes_them_all(
    platform: Platform, held: str
) -> None:
    """PostgreSQL makes the changes of one statement in an order of its own."""
    household = platform.driver()
    ids = {"driver": household.driver_id, "license": household.license_id, "address": household.address_id}
    later = list(ids)[list(ids).index(held) + 1 :]
    job = platform.ask(household)
    (question,) = platform.load(job)

    def lock(connection: Connection, table: str) -> None:
        connection.execute(text(f"SELECT FROM {table} WHERE id = :id FOR UPDATE NOWAIT"), {"id": ids[table]})

    with platform.db.transaction() as holder:
        lock(holder, held)
        saved = in_thread(lambda: platform.save(Finished(job, question, answered(question))))
        until(lambda: _somebody_waits(platform.db))
        with platform.db.transaction() as other:
            for table in later:
                lock(other, table)  # free: the save waits at the one that is held
    saved()
    assert platform.row("address", household.address_id)["standardized_by_source"] is not None


def _somebody_waits(db: Database) -> bool:
    with db.transaction() as connection:
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        return bool(connection.execute(text(waiting)).scalar_one())


def test_no_secret_reaches_the_record_of_a_call(platform: Platform) -> None:
    job = platform.ask()
    (question,) = platform.load(job)
    platform.save(Finished(job, question, answered(question)))
    kept = repr(platform.request(job))
    assert "sandbox-secret" not in kept
    assert "Authorization" not in kept
