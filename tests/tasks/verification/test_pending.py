"""Where a promised answer may be looked for, and when."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.verification.classify import Meaning, Status, Trouble, classify
from tasks.verification.criminal.answer import FORM
from tasks.verification.pending import LONGEST_S, SHORTEST_S, look_again_s, poll_url
from tasks.verification.question import Pending
from tasks.verification.reading import Reading, Received, read
from tests.tasks.verification.factories import make_account, make_question

ENDPOINT = "https://dcs.example/v1.0/criminal"


@pytest.mark.parametrize(
    "location",
    [
        "/v1.0/criminal/dcs_01-9~a",
        "https://dcs.example/v1.0/criminal/dcs_01-9~a",
        "//dcs.example/v1.0/criminal/dcs_01-9~a",
        "criminal/dcs_01-9~a",
    ],
)
def test_a_place_below_the_endpoint_is_taken(location: str) -> None:
    assert poll_url(ENDPOINT, location) == f"{ENDPOINT}/dcs_01-9~a"


@pytest.mark.parametrize(
    "location",
    [
        "",
        "/",
        "/v1.0/criminal",
        "/v1.0/criminal/",
        "/v1.0/criminal//x",
        "/v1.0/criminals/x",
        "/v2.3/household-vehicles/x",
        "/v1.0/criminal/../x",
        "/v1.0/criminal/%2e%2e/x",
        "/v1.0/criminal/..%2fx",
        "/v1.0/criminal/x?next=1",
        "/v1.0/criminal/x#y",
        "/v1.0/criminal/x\\y",
        "/v1.0/criminal/x\r\nHost: evil",
        "http://dcs.example/v1.0/criminal/x",
        "https://dcs.example:8443/v1.0/criminal/x",
        "https://dcs.example@evil.example/v1.0/criminal/x",
        "https://user@dcs.example/v1.0/criminal/x",
        "https://evil.example/v1.0/criminal/x",
        "//evil.example/v1.0/criminal/x",
        "https://[::1/v1.0/criminal/x",
        "http://169.254.169.254/",
        "/v1.0/criminal/" + "x" * 600,
    ],
)
def test_any_other_place_is_refused(location: str) -> None:
    """The next call carries our credentials there."""
    assert poll_url(ENDPOINT, location) is None


@given(st.text(max_size=60))
def test_whatever_is_said_no_call_leaves_the_endpoint(location: str) -> None:
    url = poll_url(ENDPOINT, location)
    assert url is None or url.startswith(f"{ENDPOINT}/")


@given(st.none() | st.floats(0, 1e9), st.floats(0, 1, exclude_max=True))
def test_the_wait_keeps_its_bounds_and_is_never_shorter_than_asked(asked_s: float | None, random: float) -> None:
    wait_s = look_again_s(asked_s, random)
    assert SHORTEST_S <= wait_s <= LONGEST_S + 5
    assert wait_s >= min(asked_s or 0, LONGEST_S)


def answered(headers: dict[str, str], pending: Pending | None = None) -> Reading:
    question = make_question(account=replace(make_account(api="criminal"), url=ENDPOINT), pending=pending)
    return read(FORM, question, Received(202, headers, b'{"status": "pending"}'))


def test_a_promise_names_where_the_answer_will_be() -> None:
    reading = answered({"location": "/v1.0/criminal/x", "retry-after": "7"})
    assert reading.event == Status(202, None, "7")
    assert classify(reading.event).meaning is Meaning.PENDING
    assert (reading.poll_url, reading.kept, reading.answer) == (f"{ENDPOINT}/x", None, None)


def test_a_look_that_is_answered_without_a_place_keeps_the_one_it_asked() -> None:
    assert answered({}, Pending(f"{ENDPOINT}/x", 3.0)).poll_url == f"{ENDPOINT}/x"


@pytest.mark.parametrize("headers", [{}, {"location": "https://evil.example/"}])
def test_a_promise_without_a_place_at_this_api_is_no_answer(headers: dict[str, str]) -> None:
    reading = answered(headers)
    assert reading.event is Trouble.UNREADABLE
    assert "evil" not in reading.problem


def test_a_look_that_is_sent_elsewhere_does_not_fall_back() -> None:
    reading = answered({"location": "https://evil.example/"}, Pending(f"{ENDPOINT}/x", 3.0))
    assert (reading.event, reading.poll_url) == (Trouble.UNREADABLE, None)
