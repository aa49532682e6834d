"""Every event has one meaning, and it is the one of the table."""

from typing import Literal

import pytest

from tasks.verification.classify import Event, Meaning, Status, Trouble, Verdict, classify

T, THROTTLED, PERMANENT, UNUSABLE = Meaning.TRANSIENT, Meaning.THROTTLED, Meaning.PERMANENT, Meaning.UNUSABLE


def expected_of_status(code: int, retry_after: str | None) -> tuple[Meaning, str]:
    """The table, row by row."""
    rows = {
        202: (Meaning.PENDING, "answer_pending"),
        401: (Meaning.UNAUTHORIZED, "configuration_error"),
        408: (T, "provider_error"),
        409: (PERMANENT, "idempotency_conflict"),
        425: (T, "provider_error"),
        429: (THROTTLED, "rate_limited"),
        501: (PERMANENT, "provider_error"),
        503: (THROTTLED, "provider_unavailable") if retry_after else (T, "provider_error"),
        504: (T, "provider_timeout"),
        505: (PERMANENT, "provider_error"),
    }
    if code in rows:
        return rows[code]
    if code < 200:
        return PERMANENT, "request_refused"
    if code < 300:
        return Meaning.ANSWER, "answered"
    if code < 400:
        return PERMANENT, "redirected"
    return (PERMANENT, "request_refused") if code < 500 else (T, "provider_error")


@pytest.mark.parametrize("retry_after", [None, "2"])
def test_every_status_means_what_the_table_says(retry_after: str | None) -> None:
    for code in range(100, 1000):
        verdict = classify(Status(code, retry_after=retry_after))
        assert (verdict.meaning, verdict.code) == expected_of_status(code, retry_after), code
        assert verdict.was_answered
        assert verdict.is_timeout is (code == 504)


@pytest.mark.parametrize("code", [400, 401, 403])
def test_a_refused_login_is_never_repeated(code: int) -> None:
    assert classify(Status(code, endpoint="token")) == Verdict(PERMANENT, "configuration_error", was_answered=False)


@pytest.mark.parametrize(
    ("code", "meaning"), [(429, THROTTLED), (500, T), (503, T), (404, PERMANENT), (302, PERMANENT)]
)
def test_trouble_at_the_token_endpoint_leaves_the_question_unasked(code: int, meaning: Meaning) -> None:
    verdict = classify(Status(code, endpoint="token"))
    assert verdict.meaning is meaning
    assert not verdict.was_answered


@pytest.mark.parametrize(
    ("trouble", "meaning", "was_answered"),
    [
        (Trouble.NOT_CONNECTED, T, False),
        (Trouble.BAD_CERTIFICATE, PERMANENT, False),
        (Trouble.BAD_ADDRESS, PERMANENT, False),
        (Trouble.TIMED_OUT, T, False),
        (Trouble.CONNECTION_LOST, T, False),
        (Trouble.CUT_SHORT, T, False),
        (Trouble.OVERSIZED, UNUSABLE, True),
        (Trouble.UNREADABLE, UNUSABLE, True),
    ],
)
def test_every_trouble_means_what_the_table_says(trouble: Trouble, meaning: Meaning, was_answered: bool) -> None:
    verdict = classify(trouble)
    assert (verdict.meaning, verdict.was_answered) == (meaning, was_answered)
    assert verdict.is_timeout is (trouble is Trouble.TIMED_OUT)


def test_no_trouble_was_forgotten() -> None:
    assert {classify(trouble).meaning for trouble in Trouble} == {T, PERMANENT, UNUSABLE}


def endpoints() -> list[Literal["api", "token"]]:
    return ["api", "token"]


@pytest.mark.parametrize("endpoint", endpoints())
def test_only_an_answer_of_the_api_is_one(endpoint: Literal["api", "token"]) -> None:
    events: list[Event] = [Status(code, endpoint=endpoint) for code in range(100, 1000)]
    answers = [event for event in events if classify(event).meaning is Meaning.ANSWER]
    assert len(answers) == (99 if endpoint == "api" else 0)  # a promise (202) is none
