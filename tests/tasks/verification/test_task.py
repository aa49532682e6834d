"""The policy of a run, seen from the provider: how many calls, under which keys, and how it ends."""

import asyncio
import logging
from dataclasses import replace
from datetime import date, timedelta
from typing import Any
from uuid import uuid4

import pytest

from tasks.verification import attempt
from tasks.verification.drivers.findings import Findings
from tasks.verification.drivers.question import DriverQuestion, request_body
from tasks.verification.question import PostalAddress, Question, Subject
from tasks.verification.report import Report
from tasks.verification.tally import Tally
from tasks.verification.task import verify
from tests.tasks.verification.factories import auth_config, make_account, make_question, provider, seal
from worker.dev.sandbox.personas import PERSONAS
from worker.dev.sandbox.server import SandboxServer
from worker.outcomes import Done, GiveUp, Outcome, Retry, Snooze

PERSONA = {persona.scenario: persona for persona in PERSONAS if persona.api == "drivers"}


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dice fall on zero: no wait but the one a provider asks for."""
    monkeypatch.setattr(attempt._dice, "random", lambda: 0.0)


def run(question: Question) -> Outcome[Report]:
    async def running() -> Outcome[Report]:
        async with provider() as opened:
            return await verify.act(question, opened)

    return asyncio.run(running())


def ask(
    sandbox: SandboxServer, scenario: str, *, timeout_s: int = 5, retries: int = 3, **changes: Any
) -> DriverQuestion:
    account = make_account(sandbox.url, timeout_s=timeout_s, retry_attempts=retries)
    return make_question(PERSONA[scenario], account, **changes)


def keys(sandbox: SandboxServer) -> list[str]:
    """The Idempotency-Keys of the calls, in order."""
    return [entry["idempotency_key"] for entry in sandbox.journal() if entry["path"] != "/oauth2/token"]


def test_an_answer_is_findings_and_a_record_of_the_call(sandbox: SandboxServer) -> None:
    question = ask(sandbox, "ok")
    outcome = run(question)
    assert isinstance(outcome, Done)
    report = outcome.result
    assert isinstance(report.findings, Findings)
    assert report.findings.driver.status == "verified"
    assert (report.status_code, report.retry_count, report.is_timeout) == (200, 0, False)
    assert report.request_headers == {
        "Idempotency-Key": question.idempotency_key,
        "X-Correlation-Id": question.correlation_id,
    }
    assert report.response_headers is not None
    assert {"x-transaction-id", "ratelimit-limit", "date"} <= report.response_headers.keys()
    assert keys(sandbox) == [question.idempotency_key]


def test_answered_calls_are_repeated_under_new_keys(sandbox: SandboxServer) -> None:
    outcome = run(ask(sandbox, "500_twice"))
    assert isinstance(outcome, Done)
    assert outcome.result.retry_count == 2
    assert len(keys(sandbox)) == len(set(keys(sandbox))) == 3


def test_calls_of_unknown_fate_are_repeated_under_one_key(sandbox: SandboxServer) -> None:
    outcome = run(ask(sandbox, "connect_reset"))
    assert isinstance(outcome, GiveUp)
    assert outcome.code == "connection_lost"
    assert outcome.result is not None
    assert (outcome.result.retry_count, outcome.result.is_timeout, outcome.result.status_code) == (3, False, None)
    assert len(keys(sandbox)) == 4
    assert len(set(keys(sandbox))) == 1


@pytest.mark.parametrize(("scenario", "timeout_s"), [("timeout", 1), ("504", 5)])
def test_a_timeout_is_told_from_other_failures(sandbox: SandboxServer, scenario: str, timeout_s: int) -> None:
    outcome = run(ask(sandbox, scenario, timeout_s=timeout_s, retries=1))
    assert isinstance(outcome, GiveUp)
    assert outcome.code == "provider_timeout"
    assert outcome.result is not None
    assert outcome.result.is_timeout
    assert len(keys(sandbox)) == 2


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_there_are_as_many_retries_as_the_configuration_says(sandbox: SandboxServer, retries: int) -> None:
    outcome = run(ask(sandbox, "500", retries=retries))
    assert isinstance(outcome, GiveUp)
    assert outcome.message == "The provider answered 500 INTERNAL_ERROR."
    assert len(keys(sandbox)) == retries + 1


def test_retries_of_earlier_runs_count(sandbox: SandboxServer) -> None:
    outcome = run(ask(sandbox, "500", retries=3, retry_count=2))
    assert isinstance(outcome, GiveUp)
    assert outcome.result is not None
    assert outcome.result.retry_count == 3
    assert len(keys(sandbox)) == 2


def test_a_long_wait_is_left_to_the_row(sandbox: SandboxServer) -> None:
    outcome = run(ask(sandbox, "429", time_left_s=8.0))
    assert isinstance(outcome, Retry)
    assert (outcome.code, outcome.after) == ("rate_limited", timedelta(seconds=2))
    assert outcome.result is not None
    assert outcome.result.retry_count == 1
    assert len(keys(sandbox)) == 1


@pytest.mark.parametrize("time_left_s", [None, 60.0])
def test_a_provider_that_asks_for_more_than_there_is_costs_no_retry(
    sandbox: SandboxServer, time_left_s: float | None
) -> None:
    outcome = run(ask(sandbox, "503_retry_after_3600", time_left_s=time_left_s))
    assert isinstance(outcome, Snooze)
    assert outcome.reason.startswith("limited until 2")
    assert outcome.after == timedelta(hours=1)
    assert outcome.result is not None
    assert (outcome.result.retry_count, outcome.result.status_code) == (0, 503)
    assert len(keys(sandbox)) == 1


def test_a_nap_is_left_to_the_row_when_no_call_fits_after_it(sandbox: SandboxServer) -> None:
    outcome = run(ask(sandbox, "500", time_left_s=4.9))
    assert isinstance(outcome, Retry)
    assert len(keys(sandbox)) == 1


@pytest.mark.parametrize("scenario", ["malformed_json", "html_200", "wrong_charset"])
def test_an_unreadable_answer_is_asked_for_once_more(sandbox: SandboxServer, scenario: str) -> None:
    outcome = run(ask(sandbox, scenario))
    assert isinstance(outcome, GiveUp)
    assert outcome.code == "unreadable_answer"
    assert len(set(keys(sandbox))) == 2


@pytest.mark.parametrize(("scenario", "code"), [("redirect", "redirected"), ("418", "request_refused")])
def test_a_refusal_is_final(sandbox: SandboxServer, scenario: str, code: str) -> None:
    outcome = run(ask(sandbox, scenario))
    assert isinstance(outcome, GiveUp)
    assert outcome.code == code
    assert len(keys(sandbox)) == 1


def test_a_token_refused_twice_is_a_fault_of_the_configuration(sandbox: SandboxServer) -> None:
    outcome = run(ask(sandbox, "token_always_rejected"))
    assert isinstance(outcome, GiveUp)
    assert outcome.code == "configuration_error"
    assert outcome.message == "The provider answered 401 UNAUTHORIZED; look at configuration 1."
    assert len(sandbox.journal()) == 4  # two tokens, two calls


def test_a_wrong_secret_is_a_fault_of_the_configuration(sandbox: SandboxServer) -> None:
    config = auth_config("oauth2", sandbox.url) | {"client_secret": seal("wrong", 1, "client_secret")}
    outcome = run(make_question(PERSONA["ok"], make_account(sandbox.url, auth_config=config)))
    assert isinstance(outcome, GiveUp)
    assert outcome.code == "configuration_error"
    assert outcome.message == "The provider's token endpoint answered 401; look at configuration 1."
    assert len(sandbox.journal()) == 1


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"account": make_account(auth_config={"token_url": "x"})}, "configuration 1"),
        ({"account": make_account(auth_config=auth_config("oauth2", "http://127.0.0.1:1", 2))}, "row 1"),
        ({"sealed_license_number": "TX00000001"}, "license.license_number of row 43"),
    ],
)
def test_what_cannot_be_opened_is_given_up_without_a_call(changes: dict[str, Any], named: str) -> None:
    outcome = run(make_question(**changes))
    assert isinstance(outcome, GiveUp)
    assert outcome.code == "configuration_error"
    assert named in outcome.message
    assert "TX00000001" not in outcome.message


def test_a_corrected_driver_is_a_new_question(sandbox: SandboxServer) -> None:
    """The provider refuses a key that comes with another body."""
    question = ask(sandbox, "ok")
    assert isinstance(run(question), Done)
    corrected = make_question(
        PERSONA["household"],
        question.account,
        idempotency_key=question.idempotency_key,
        body_sent=request_body(question, "TX00000001"),
    )
    assert isinstance(run(corrected), Done)
    assert len(set(keys(sandbox))) == 2


def test_a_run_repeated_after_a_crash_is_answered_from_the_providers_memory(sandbox: SandboxServer) -> None:
    question = ask(sandbox, "500_twice")
    first, second = run(question), run(replace(question, tally=Tally(4, "after_crash")))
    assert isinstance(first, Done)
    assert isinstance(second, Done)
    calls = [entry for entry in sandbox.journal() if entry["path"] != "/oauth2/token"]
    assert [entry["replayed"] for entry in calls] == [False] * 3 + [True] * 3
    assert first.result.transaction_id == second.result.transaction_id


def test_nothing_personal_is_said_in_any_outcome_or_log(
    sandbox: SandboxServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    canary = Subject("Canaryfirst", "Canarylast", date(1983, 12, 31))
    home = PostalAddress("7 Canary Ln", None, "Canaryville", "TX", "78799")

    async def everybody() -> list[Outcome[Report]]:
        async with provider() as opened:
            account = make_account(sandbox.url, timeout_s=1, retry_attempts=1)
            questions = [
                make_question(persona, account, correlation_id=str(uuid4()), subject=canary, address=home)
                for persona in PERSONA.values()
            ]
            return list(await asyncio.gather(*(verify.act(question, opened) for question in questions)))

    outcomes = asyncio.run(everybody())
    assert {type(outcome) for outcome in outcomes} == {Done, GiveUp, Snooze}
    said = caplog.text + "".join(map(repr, outcomes))
    numbers = [persona.license_number or "" for persona in PERSONA.values()]
    secrets = ["Canary", "1983-12-31", "78799", "sandbox-secret", "Bearer ", *numbers]
    assert [secret for secret in secrets if secret in said] == []


@pytest.mark.parametrize(
    ("scenario", "sent"),
    [
        ("ok", {"first": 1}),
        ("500_twice", {"first": 1, "retry": 2}),
        ("connect_reset", {"first": 1, "retry": 3}),
        ("418", {"first": 1}),
    ],
)
def test_calls_are_counted_by_reason_as_they_leave(sandbox: SandboxServer, scenario: str, sent: dict[str, int]) -> None:
    question = ask(sandbox, scenario)
    run(question)
    assert question.tally.sent == sent
    assert sum(sent.values()) == len(keys(sandbox)), "as many as the provider counts"


def test_a_call_that_never_left_is_not_counted(sandbox: SandboxServer) -> None:
    question = make_question(PERSONA["ok"], make_account("http://127.0.0.1:9", "api_key"))
    outcome = run(question)
    assert isinstance(outcome, GiveUp)
    assert question.tally.sent.total() == 0


def test_a_call_whose_token_was_refused_is_counted_and_the_token_is_not(sandbox: SandboxServer) -> None:
    question = ask(sandbox, "token_expired")
    run(question)
    assert question.tally.sent.total() == len(keys(sandbox)) == 2


def test_no_more_calls_leave_than_there_is_money_for(sandbox: SandboxServer) -> None:
    question = replace(ask(sandbox, "500"), tally=Tally(2))
    outcome = run(question)
    assert isinstance(outcome, Retry), "the next run asks the budget again"
    assert len(keys(sandbox)) == 2
